#include "depthwise.h"

#include <immintrin.h>

#include <algorithm>

#include "isa.h"

// GCC 12's own intrinsics start from an undefined register, on purpose (its bug 105593).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"

#define TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni")))
#define INLINE TARGET __attribute__((always_inline)) inline

namespace {

constexpr int kBlock = 64, kLane = 16, kTaps = 3, kTable = kTaps * 4 * kBlock;
constexpr int kBandRows = 8;  // of output that a thread takes at a time; even, for the pairs

// What the 64 bytes of a register hold.
enum class Kind {
  kWhole,   // 64 channels of one row
  kMasked,  // fewer: byte masks cost, so only the last block of a row does it
  kPair,    // 32 channels of two output rows, so that a network's first layers do not leave half of it empty
};

struct Column {
  __m512i part[4];  // 16 channels each, 4 bytes a channel: the rows above, at and below, and 0
};

struct Row {
  const std::uint8_t* from[2][kTaps];  // the second for the pair's second output row
  std::uint8_t* to[2];                 // the second is null where there is no second row
};

struct Tables {
  const std::int8_t* weights;
  const float *scale, *bias;
  float high, factor;
  __mmask64 mask;
};

template <Kind kKind>
INLINE __m512i Load(const Row& row, int tap, std::size_t offset, __mmask64 mask) {
  const std::uint8_t* from = row.from[0][tap] + offset;
  if (kKind == Kind::kWhole) return _mm512_loadu_si512(from);
  if (kKind == Kind::kMasked) return _mm512_maskz_loadu_epi8(mask, from);
  const __m256i first = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
  const __m256i second = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(row.from[1][tap] + offset));
  return _mm512_inserti64x4(_mm512_castsi256_si512(first), second, 1);
}

template <Kind kKind>
INLINE Column Interleave(const Row& row, std::size_t offset, __mmask64 mask) {
  const __m512i zero = _mm512_setzero_si512();
  const __m512i above = Load<kKind>(row, 0, offset, mask), at = Load<kKind>(row, 1, offset, mask);
  const __m512i below = Load<kKind>(row, 2, offset, mask);
  const __m512i low = _mm512_unpacklo_epi8(above, at), high = _mm512_unpackhi_epi8(above, at);
  const __m512i low_below = _mm512_unpacklo_epi8(below, zero), high_below = _mm512_unpackhi_epi8(below, zero);
  return {{_mm512_unpacklo_epi16(low, low_below), _mm512_unpackhi_epi16(low, low_below),
           _mm512_unpacklo_epi16(high, high_below), _mm512_unpackhi_epi16(high, high_below)}};
}

INLINE void Add(Column* sum, const Column& column, const std::int8_t* weights) {
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    sum->part[i] = _mm512_dpbusd_epi32(sum->part[i], column.part[i], _mm512_load_si512(weights + i * kBlock));
  }
}

INLINE void Clear(Column* sum) {
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) sum->part[i] = _mm512_setzero_si512();
}

template <Kind kKind>
INLINE void Store(const Column& sum, const Tables& t, const Row& row, std::size_t offset) {
  const __m512 most = _mm512_set1_ps(t.high), factor = _mm512_set1_ps(t.factor);
  __m512i whole[4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    const __m512 scaled = _mm512_mul_ps(_mm512_cvtepi32_ps(sum.part[i]), _mm512_load_ps(t.scale + i * kLane));
    const __m512 value = _mm512_min_ps(_mm512_add_ps(scaled, _mm512_load_ps(t.bias + i * kLane)), most);
    whole[i] = _mm512_cvtps_epi32(_mm512_mul_ps(value, factor));
  }
  // Both packs saturate, so what is below 0 becomes 0 and what is above 255 becomes 255.
  const __m512i bytes =
      _mm512_packus_epi16(_mm512_packs_epi32(whole[0], whole[1]), _mm512_packs_epi32(whole[2], whole[3]));
  if (kKind == Kind::kWhole) {
    _mm512_storeu_si512(row.to[0] + offset, bytes);
  } else if (kKind == Kind::kMasked) {
    _mm512_mask_storeu_epi8(row.to[0] + offset, t.mask, bytes);
  } else {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(row.to[0] + offset), _mm512_castsi512_si256(bytes));
    if (row.to[1] == nullptr) return;
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(row.to[1] + offset), _mm512_extracti64x4_epi64(bytes, 1));
  }
}

// Every column is interleaved once and used for three outputs.
template <Kind kKind>
TARGET void RowOfStride1(const Row& row, const Depthwise::Shape& s, const Tables& t) {
  Column done, next, last;  // outputs v - 2, v - 1 and v of the padded column v: they have seen 2, 1 and 0 columns
  Clear(&done);
  Clear(&next);
  for (int v = 0; v < s.output_width + 2; ++v) {
    const int x = v - s.left;
    Clear(&last);
    if (x >= 0 && x < s.width) {
      const Column column = Interleave<kKind>(row, static_cast<std::size_t>(x) * s.channels, t.mask);
      Add(&last, column, t.weights);
      Add(&next, column, t.weights + 4 * kBlock);
      Add(&done, column, t.weights + 8 * kBlock);
    }
    if (v >= 2) Store<kKind>(done, t, row, static_cast<std::size_t>(v - 2) * s.channels);
    done = next;
    next = last;
  }
}

template <Kind kKind>
INLINE Column ColumnAt(const Row& row, int x, const Depthwise::Shape& s, __mmask64 mask) {
  if (x >= 0 && x < s.width) return Interleave<kKind>(row, static_cast<std::size_t>(x) * s.channels, mask);
  Column nothing;
  Clear(&nothing);
  return nothing;
}

// Every second column is used for two outputs.
template <Kind kKind>
TARGET void RowOfStride2(const Row& row, const Depthwise::Shape& s, const Tables& t) {
  Column left = ColumnAt<kKind>(row, -s.left, s, t.mask);
  for (int x = 0; x < s.output_width; ++x) {
    Column sum;
    Clear(&sum);
    Add(&sum, left, t.weights);
    Add(&sum, ColumnAt<kKind>(row, 2 * x + 1 - s.left, s, t.mask), t.weights + 4 * kBlock);
    left = ColumnAt<kKind>(row, 2 * x + 2 - s.left, s, t.mask);
    Add(&sum, left, t.weights + 8 * kBlock);
    Store<kKind>(sum, t, row, static_cast<std::size_t>(x) * s.channels);
  }
}

template <Kind kKind>
void OneRow(const Row& row, const Depthwise::Shape& s, const Tables& t) {
  s.stride == 1 ? RowOfStride1<kKind>(row, s, t) : RowOfStride2<kKind>(row, s, t);
}

// Where channel `c` of a block stands after the unpacks: the part and the place in it.
std::size_t Place(int c) {
  const int lane = c / kLane, in_lane = c % kLane;
  return static_cast<std::size_t>(in_lane / 4 * kLane + lane * 4 + in_lane % 4);
}

}  // namespace

bool Depthwise::Supported() { return HasAvx512Vnni(); }

bool Depthwise::Fits(const Shape& s) {
  return (s.stride == 1 || s.stride == 2) && s.top >= 0 && s.top <= 1 && s.left >= 0 && s.left <= 1;
}

Depthwise::Depthwise(const Shape& shape, const std::int8_t* weights, const float* scale, const float* bias, float high,
                     float factor)
    : shape_(shape),
      blocks_((shape.channels + kBlock - 1) / kBlock),
      weights_(static_cast<std::size_t>(blocks_) * kTable),
      scale_(static_cast<std::size_t>(blocks_) * kBlock),
      bias_(scale_.size()),
      zeros_(static_cast<std::size_t>(shape.width) * static_cast<std::size_t>(shape.channels)),
      high_(high),
      factor_(factor) {
  for (int c = 0; c < shape.channels; ++c) {
    Put(c, c % kBlock, weights, scale, bias);
    // The second row of a pair needs the same tables in the upper half.
    if (shape.channels - c / kBlock * kBlock == kBlock / 2) Put(c, c % kBlock + kBlock / 2, weights, scale, bias);
  }
}

void Depthwise::Put(int channel, int in_block, const std::int8_t* weights, const float* scale, const float* bias) {
  const std::size_t block = static_cast<std::size_t>(channel / kBlock), place = Place(in_block);
  scale_[block * kBlock + place] = scale[channel];
  bias_[block * kBlock + place] = bias[channel];
  for (int column = 0; column < kTaps; ++column) {
    std::int8_t* to = &weights_[block * kTable + static_cast<std::size_t>(column) * 4 * kBlock + place * 4];
    for (int tap = 0; tap < kTaps; ++tap) to[tap] = weights[(channel * kTaps + tap) * kTaps + column];
  }
}

void Depthwise::Run(const std::uint8_t* src, std::uint8_t* dst, int begin, int end) const {
  const Shape& s = shape_;
  const std::size_t row_bytes = zeros_.size(), output_bytes = static_cast<std::size_t>(s.output_width) * s.channels;
  for (int block = 0; block < blocks_; ++block) {
    const int first = block * kBlock, count = std::min(kBlock, s.channels - first);
    const Kind kind = count == kBlock ? Kind::kWhole : count == kBlock / 2 ? Kind::kPair : Kind::kMasked;
    const Tables tables{&weights_[static_cast<std::size_t>(block) * kTable], &scale_[first], &bias_[first], high_, factor_,
                        count == kBlock ? ~0ULL : (1ULL << count) - 1};
    const int rows = kind == Kind::kPair ? 2 : 1;
    for (int y = begin; y < end; y += rows) {
      Row row{};
      for (int i = 0; i < rows; ++i) {
        for (int tap = 0; tap < kTaps; ++tap) {
          const int from = (y + i) * s.stride + tap - s.top;
          row.from[i][tap] = (from < 0 || from >= s.height ? zeros_.data() : src + from * row_bytes) + first;
        }
        row.to[i] = y + i < end ? dst + (y + i) * output_bytes + first : nullptr;
      }
      if (kind == Kind::kWhole) {
        OneRow<Kind::kWhole>(row, s, tables);
      } else if (kind == Kind::kPair) {
        OneRow<Kind::kPair>(row, s, tables);
      } else {
        OneRow<Kind::kMasked>(row, s, tables);
      }
    }
  }
}

void Depthwise::RunBatch(const std::uint8_t* src, std::size_t images, std::uint8_t* dst) const {
  const std::size_t from = zeros_.size() * static_cast<std::size_t>(shape_.height);
  const std::size_t to = static_cast<std::size_t>(shape_.output_height) * static_cast<std::size_t>(shape_.output_width) *
                         static_cast<std::size_t>(shape_.channels);
  const int bands = (shape_.output_height + kBandRows - 1) / kBandRows;
  const auto work = static_cast<std::int64_t>(images) * bands;
#pragma omp parallel for schedule(static)
  for (std::int64_t i = 0; i < work; ++i) {
    const auto image = static_cast<std::size_t>(i / bands);
    const int begin = static_cast<int>(i % bands) * kBandRows;
    Run(src + image * from, dst + image * to, begin, std::min(begin + kBandRows, shape_.output_height));
  }
}
