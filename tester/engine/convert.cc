#include "convert.h"

#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "isa.h"

namespace {

float Least(Type type) { return type == Type::kInt8 ? -128.0f : 0.0f; }
float Most(Type type) { return type == Type::kInt8 ? 127.0f : 255.0f; }

template <typename Q>
Q Rounded(float value, float least, float most) {
  return static_cast<Q>(std::nearbyint(std::max(std::min(value, most), least)));
}

template <typename Q>
void QuantizePixels(const float* planes, std::size_t first, std::size_t pixels, float factor, Type type, Q* out) {
  const float least = Least(type), most = Most(type);
  for (std::size_t i = first; i < pixels; ++i) {
    for (std::size_t c = 0; c < 3; ++c) out[3 * i + c] = Rounded<Q>(planes[c * pixels + i] * factor, least, most);
  }
}

// Sixteen pixels at a time; returns how many it did. The bytes of three registers r, g, b become rgbrgb... by shuffles
// that put each where it belongs and zero elsewhere (an index of 0x80).
__attribute__((target("avx512f,avx512bw,avx512vl"))) std::size_t QuantizeWithAvx512(const float* planes,
                                                                                     std::size_t pixels, float factor,
                                                                                     Type type, std::uint8_t* out) {
  alignas(16) std::uint8_t indices[9][16];  // [block of 16 bytes of the output x 3 + channel]
  for (std::size_t at = 0; at < 48; ++at) {
    for (std::size_t c = 0; c < 3; ++c) {
      indices[at / 16 * 3 + c][at % 16] = at % 3 == c ? static_cast<std::uint8_t>(at / 3) : 0x80;
    }
  }
  __m128i shuffle[9];
  for (std::size_t i = 0; i < 9; ++i) shuffle[i] = _mm_load_si128(reinterpret_cast<const __m128i*>(indices[i]));
  const __m512 factors = _mm512_set1_ps(factor), most = _mm512_set1_ps(Most(type)), least = _mm512_set1_ps(Least(type));
  std::size_t i = 0;
  for (; i + 16 <= pixels; i += 16) {
    __m128i channel[3];
    for (std::size_t c = 0; c < 3; ++c) {
      const __m512 scaled = _mm512_mul_ps(_mm512_loadu_ps(planes + c * pixels + i), factors);
      const __m512i whole = _mm512_cvtps_epi32(_mm512_max_ps(_mm512_min_ps(scaled, most), least));
      channel[c] = _mm512_cvtepi32_epi8(whole);
    }
    for (std::size_t block = 0; block < 3; ++block) {
      const __m128i red = _mm_shuffle_epi8(channel[0], shuffle[block * 3]);
      const __m128i green = _mm_shuffle_epi8(channel[1], shuffle[block * 3 + 1]);
      const __m128i blue = _mm_shuffle_epi8(channel[2], shuffle[block * 3 + 2]);
      _mm_storeu_si128(reinterpret_cast<__m128i*>(out + 3 * i + 16 * block),
                       _mm_or_si128(_mm_or_si128(red, green), blue));
    }
  }
  return i;
}

// For LookUpWithVbmi: byte p of block b of 64 of the output is pixel (64 b + p) / 3 of channel (64 b + p) % 3.
struct Interleaving {
  alignas(64) std::uint8_t red_green[3][64];  // index into red, or 64 more into green; anything where it is blue
  alignas(64) std::uint8_t blue[3][64];
  std::uint64_t is_blue[3] = {0, 0, 0};
};

Interleaving MakeInterleaving() {
  Interleaving made;
  for (std::size_t at = 0; at < 192; ++at) {
    const std::size_t block = at / 64, byte = at % 64, channel = at % 3, pixel = at / 3;
    made.red_green[block][byte] = static_cast<std::uint8_t>(channel == 1 ? 64 + pixel : pixel);
    made.blue[block][byte] = static_cast<std::uint8_t>(pixel);
    if (channel == 2) made.is_blue[block] |= std::uint64_t{1} << byte;
  }
  return made;
}

#define QAT8_VBMI __attribute__((target("avx512f,avx512bw,avx512vl,avx512vbmi")))

// 64 lookups among 256: among the lower and the upper 128, chosen by the highest bit.
QAT8_VBMI inline __m512i LookUp(const __m512i (&table)[4], __m512i bytes) {
  const __m512i low = _mm512_permutex2var_epi8(table[0], bytes, table[1]);
  const __m512i high = _mm512_permutex2var_epi8(table[2], bytes, table[3]);
  return _mm512_mask_mov_epi8(low, _mm512_movepi8_mask(bytes), high);
}

// Sixty-four pixels at a time; returns how many it did.
QAT8_VBMI std::size_t LookUpWithVbmi(const std::uint8_t* planes, std::size_t pixels, const ByteTable& table,
                                     std::uint8_t* out) {
  static const Interleaving kInterleaving = MakeInterleaving();
  __m512i tables[3][4], red_green[3], blue[3];
  for (std::size_t c = 0; c < 3; ++c) {
    for (std::size_t part = 0; part < 4; ++part) tables[c][part] = _mm512_loadu_si512(table[c].data() + 64 * part);
    red_green[c] = _mm512_load_si512(kInterleaving.red_green[c]);
    blue[c] = _mm512_load_si512(kInterleaving.blue[c]);
  }
  std::size_t i = 0;
  for (; i + 64 <= pixels; i += 64) {
    __m512i channel[3];
    for (std::size_t c = 0; c < 3; ++c) {
      channel[c] = LookUp(tables[c], _mm512_loadu_si512(planes + c * pixels + i));
    }
    for (std::size_t block = 0; block < 3; ++block) {
      const __m512i two = _mm512_permutex2var_epi8(channel[0], red_green[block], channel[1]);
      const __m512i all = _mm512_mask_permutexvar_epi8(two, kInterleaving.is_blue[block], blue[block], channel[2]);
      _mm512_storeu_si512(out + 3 * i + 64 * block, all);
    }
  }
  return i;
}

}  // namespace

ByteTable QuantizedLevels(const Levels& levels, float factor, Type type) {
  ByteTable table;
  for (std::size_t c = 0; c < 3; ++c) Quantize(levels[c].data(), levels[c].size(), factor, type, table[c].data());
  return table;
}

void LookUpImage(const std::uint8_t* planes, std::size_t pixels, const ByteTable& table, std::uint8_t* out) {
  for (std::size_t i = HasAvx512Vbmi() ? LookUpWithVbmi(planes, pixels, table, out) : 0; i < pixels; ++i) {
    for (std::size_t c = 0; c < 3; ++c) out[3 * i + c] = table[c][planes[c * pixels + i]];
  }
}

void QuantizeImage(const float* planes, std::size_t pixels, float factor, Type type, void* out) {
  auto* bytes = static_cast<std::uint8_t*>(out);
  const std::size_t done = HasAvx512Core() ? QuantizeWithAvx512(planes, pixels, factor, type, bytes) : 0;
  if (type == Type::kInt8) {
    QuantizePixels(planes, done, pixels, factor, type, static_cast<std::int8_t*>(out));
  } else {
    QuantizePixels(planes, done, pixels, factor, type, bytes);
  }
}

void Quantize(const float* in, std::size_t count, float factor, Type type, void* out) {
  const float least = Least(type), most = Most(type);
  for (std::size_t i = 0; i < count; ++i) {
    if (type == Type::kInt8) {
      static_cast<std::int8_t*>(out)[i] = Rounded<std::int8_t>(in[i] * factor, least, most);
    } else {
      static_cast<std::uint8_t*>(out)[i] = Rounded<std::uint8_t>(in[i] * factor, least, most);
    }
  }
}

void Dequantize(const void* in, std::size_t count, float scale, Type type, float* out) {
  for (std::size_t i = 0; i < count; ++i) {
    const float value = type == Type::kInt8 ? static_cast<const std::int8_t*>(in)[i]
                                            : static_cast<const std::uint8_t*>(in)[i];
    out[i] = value * scale;
  }
}
