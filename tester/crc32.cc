#include "crc32.h"

#include <immintrin.h>

#include <array>
#include <cstring>

namespace {

// "Slicing by 8": table k holds the CRC of a byte that is followed by k zero bytes, so that eight bytes go at a time.
// Kounavis, M. E., Berry, F. L. (2008), Novel Table Lookup-Based Algorithms for High-Performance CRC Generation,
// IEEE Transactions on Computers 57(11).
using Tables = std::array<std::array<std::uint32_t, 256>, 8>;

constexpr Tables MakeTables() {
  Tables t{};
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    std::uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) ? 0xEDB88320u : 0u);
    t[0][byte] = crc;
  }
  for (std::size_t k = 1; k < t.size(); ++k) {
    for (std::size_t byte = 0; byte < 256; ++byte) t[k][byte] = (t[k - 1][byte] >> 8) ^ t[0][t[k - 1][byte] & 0xFF];
  }
  return t;
}

constexpr Tables kTables = MakeTables();

// 64 bytes at a time by carry-less multiplication: four 128-bit lanes are folded over 512 bits, then into one, and that is
// what the tables go on with: 16 bytes that give the same CRC as all that were folded into them.
// Gopal, V. et al. (2009), Fast CRC Computation for Generic Polynomials Using PCLMULQDQ Instruction, Intel white paper;
// the constants are x^n mod P for the reflected polynomial, with n = 544, 480 (512 bits ahead) and 160, 96 (128 bits).
__attribute__((target("pclmul,sse4.1"))) __m128i Fold(__m128i lane, __m128i next, __m128i constants) {
  const __m128i low = _mm_clmulepi64_si128(lane, constants, 0x00);
  const __m128i high = _mm_clmulepi64_si128(lane, constants, 0x11);
  return _mm_xor_si128(_mm_xor_si128(low, high), next);
}

__m128i Load(const unsigned char* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); }

// Folds a multiple of 64 bytes, at least 64, into the 16 at `out`.
__attribute__((target("pclmul,sse4.1"))) void FoldAll(const unsigned char* p, std::size_t size, std::uint32_t crc,
                                                      unsigned char* out) {
  const __m128i by_512 = _mm_set_epi64x(0x1c6e41596, 0x154442bd4), by_128 = _mm_set_epi64x(0xccaa009e, 0x1751997d0);
  __m128i lanes[4] = {_mm_xor_si128(Load(p), _mm_cvtsi32_si128(static_cast<int>(crc))), Load(p + 16), Load(p + 32),
                      Load(p + 48)};
  for (p += 64, size -= 64; size >= 64; p += 64, size -= 64) {
    for (int k = 0; k < 4; ++k) lanes[k] = Fold(lanes[k], Load(p + 16 * k), by_512);
  }
  for (int k = 1; k < 4; ++k) lanes[k] = Fold(lanes[k - 1], lanes[k], by_128);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out), lanes[3]);
}

// 256 bytes at a time: the same with lanes of 512 bits, folded over 2,048 (n = 2080, 2016) into 256 bytes of that CRC.
__attribute__((target("avx512f,vpclmulqdq"))) void FoldWide(const unsigned char* p, std::size_t size, std::uint32_t crc,
                                                            unsigned char* out) {
  const __m512i by_2048 = _mm512_set_epi64(0x1322d1430, 0x11542778a, 0x1322d1430, 0x11542778a, 0x1322d1430, 0x11542778a,
                                           0x1322d1430, 0x11542778a);
  const __m512i start = _mm512_zextsi128_si512(_mm_cvtsi32_si128(static_cast<int>(crc)));
  __m512i lanes[4];
  for (int k = 0; k < 4; ++k) lanes[k] = _mm512_loadu_si512(p + 64 * k);
  lanes[0] = _mm512_xor_si512(lanes[0], start);
  for (p += 256, size -= 256; size >= 256; p += 256, size -= 256) {
    for (int k = 0; k < 4; ++k) {
      const __m512i low = _mm512_clmulepi64_epi128(lanes[k], by_2048, 0x00);
      const __m512i high = _mm512_clmulepi64_epi128(lanes[k], by_2048, 0x11);
      lanes[k] = _mm512_ternarylogic_epi64(low, high, _mm512_loadu_si512(p + 64 * k), 0x96);  // the XOR of all three
    }
  }
  for (int k = 0; k < 4; ++k) _mm512_storeu_si512(out + 64 * k, lanes[k]);
}

std::uint32_t Tabled(const unsigned char* p, std::size_t size, std::uint32_t crc) {
  for (; size >= 8; p += 8, size -= 8) {
    std::uint32_t low = 0, high = 0;
    std::memcpy(&low, p, 4);
    std::memcpy(&high, p + 4, 4);
    low ^= crc;
    crc = 0;
    for (std::size_t byte = 0; byte < 4; ++byte) {
      crc ^= kTables[7 - byte][(low >> 8 * byte) & 0xFF] ^ kTables[3 - byte][(high >> 8 * byte) & 0xFF];
    }
  }
  for (; size > 0; ++p, --size) crc = (crc >> 8) ^ kTables[0][(crc ^ *p) & 0xFF];
  return crc;
}

}  // namespace

std::uint32_t Crc32(const void* data, std::size_t size) {
  static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the data file is little endian, and so is this reader");
  static const bool kFolds = __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse4.1");
  static const bool kFoldsWide = kFolds && __builtin_cpu_supports("vpclmulqdq") && __builtin_cpu_supports("avx512f");
  const unsigned char* p = static_cast<const unsigned char*>(data);
  std::uint32_t crc = 0xFFFFFFFFu;
  if (kFolds && size >= 64) {
    const bool wide = kFoldsWide && size >= 256;
    const std::size_t folded = wide ? size / 256 * 256 : size / 64 * 64;
    unsigned char rest[16];
    if (wide) {
      unsigned char narrower[256];
      FoldWide(p, folded, crc, narrower);
      FoldAll(narrower, sizeof narrower, 0, rest);
    } else {
      FoldAll(p, folded, crc, rest);
    }
    crc = Tabled(rest, sizeof rest, 0);
    p += folded;
    size -= folded;
  }
  return ~Tabled(p, size, crc);
}
