#include "winograd.h"

#include <immintrin.h>

#include <algorithm>

#include "isa.h"
#include "threads.h"

// GCC 12's own intrinsics start from an undefined register, on purpose (its bug 105593).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"

#define TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni")))
#define INLINE TARGET __attribute__((always_inline)) inline

namespace {

constexpr int kSide = 6, kPlaces = kSide * kSide, kStep = 4;  // a tile of the input, and of the output
constexpr int kBlock = 64;                                    // outputs that are summed at a time: four registers
constexpr int kLane = 16;                                     // int32 in a register
constexpr int kHalf = 32;                                     // int16 in a register
constexpr int kRows = 6;                                      // tiles that are summed at a time
constexpr std::uint32_t kInverseOf9 = 954437177;              // modulo 2^32

// Tiles whose transforms stay in L2 together. Each more of them saves a reading of the weights, which L2 does not hold
// where channels are many.
std::size_t Group(int channels) { return channels <= 128 ? 24 : 48; }

// Rows of different places would otherwise lie in the same few sets of the cache.
std::size_t InputStride(int channels, std::size_t tiles) { return tiles * static_cast<std::size_t>(channels) + kHalf; }
std::size_t ProductStride(std::size_t tiles) { return tiles * kBlock + kLane; }
std::size_t InputElements(int channels) { return InputStride(channels, Group(channels)) * kPlaces; }

int Tiles(int side) { return (side + kStep - 1) / kStep; }

// The transform of the weights, its rows times 24, -6, -6, 24, 24 and 6, in units that Gather() undoes.
constexpr int kFilter[kSide][3] = {{6, 0, 0}, {1, 1, 1}, {1, -1, 1}, {1, 2, 4}, {1, -2, 4}, {0, 0, 6}};

// The transform of the input in one dimension, of 32 channels.
INLINE void Spread(const __m512i (&d)[kSide], __m512i (&to)[kSide]) {
  const __m512i a = _mm512_sub_epi16(d[4], _mm512_slli_epi16(d[2], 2));
  const __m512i b = _mm512_sub_epi16(d[3], _mm512_slli_epi16(d[1], 2));
  const __m512i c = _mm512_sub_epi16(d[4], d[2]);
  const __m512i e = _mm512_slli_epi16(_mm512_sub_epi16(d[3], d[1]), 1);
  to[0] = _mm512_add_epi16(_mm512_slli_epi16(_mm512_sub_epi16(d[0], d[2]), 2), c);
  to[1] = _mm512_add_epi16(a, b);
  to[2] = _mm512_sub_epi16(a, b);
  to[3] = _mm512_add_epi16(c, e);
  to[4] = _mm512_sub_epi16(c, e);
  to[5] = _mm512_sub_epi16(_mm512_sub_epi16(d[5], d[3]), _mm512_slli_epi16(e, 1));
}

// The transform of the output in one dimension: 24, 12, 6 and 6 times what it is.
INLINE void Gather(const __m512i (&m)[kSide], __m512i (&to)[kStep]) {
  const __m512i p = _mm512_add_epi32(m[1], m[2]), q = _mm512_sub_epi32(m[1], m[2]);
  const __m512i r = _mm512_add_epi32(m[3], m[4]), s = _mm512_sub_epi32(m[3], m[4]);
  to[0] = _mm512_add_epi32(_mm512_sub_epi32(m[0], _mm512_slli_epi32(p, 2)), r);
  to[1] = _mm512_sub_epi32(s, _mm512_slli_epi32(q, 1));
  to[2] = _mm512_sub_epi32(r, p);
  to[3] = _mm512_add_epi32(_mm512_sub_epi32(_mm512_slli_epi32(s, 1), q), m[5]);
}

constexpr int kShift[kStep] = {3, 2, 1, 1};  // 24 = 3 x 2^3, 12 = 3 x 2^2, 6 = 3 x 2

// Products of kTiles tiles and 64 outputs at one place: the tiles lie `stride` apart. Meanwhile two cache lines of what
// is needed next, at `ahead`, are fetched for each pair of channels: the CPU's own prefetcher stops at every page.
template <int kTiles>
TARGET void MultiplyTiles(const std::int16_t* input, std::size_t stride, const std::int16_t* weights, int pairs,
                          std::int32_t* to, const std::int16_t* ahead) {
  __m512i sum[kTiles][4];
#pragma GCC unroll 6
  for (int t = 0; t < kTiles; ++t) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) sum[t][i] = _mm512_setzero_si512();
  }
  for (int pair = 0; pair < pairs; ++pair, weights += 2 * kBlock, input += 2, ahead += kBlock) {
    _mm_prefetch(reinterpret_cast<const char*>(ahead), _MM_HINT_T1);
    _mm_prefetch(reinterpret_cast<const char*>(ahead + kHalf), _MM_HINT_T1);
    const __m512i w[4] = {_mm512_load_si512(weights), _mm512_load_si512(weights + kHalf),
                          _mm512_load_si512(weights + 2 * kHalf), _mm512_load_si512(weights + 3 * kHalf)};
#pragma GCC unroll 6
    for (int t = 0; t < kTiles; ++t) {
      const auto* const from = reinterpret_cast<const int*>(input + static_cast<std::size_t>(t) * stride);
      const __m512i two = _mm512_set1_epi32(*from);
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) sum[t][i] = _mm512_dpwssd_epi32(sum[t][i], w[i], two);
    }
  }
#pragma GCC unroll 6
  for (int t = 0; t < kTiles; ++t) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) _mm512_store_si512(to + t * kBlock + i * kLane, sum[t][i]);
  }
}

using Multiplier = void (*)(const std::int16_t*, std::size_t, const std::int16_t*, int, std::int32_t*, const std::int16_t*);
constexpr Multiplier kMultiply[kRows + 1] = {
    nullptr, MultiplyTiles<1>, MultiplyTiles<2>, MultiplyTiles<3>, MultiplyTiles<4>, MultiplyTiles<5>, MultiplyTiles<6>};

// 32 channels of a tile: pixels at from[row][column] + offset.
TARGET void SpreadTile(const std::uint8_t* const (&from)[kPlaces], std::size_t offset, std::int16_t* to,
                       std::size_t stride) {
  __m512i half[kSide][kSide], d[kSide], spread[kSide];
  for (int x = 0; x < kSide; ++x) {
#pragma GCC unroll 6
    for (int y = 0; y < kSide; ++y) {
      d[y] = _mm512_cvtepu8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from[y * kSide + x] + offset)));
    }
    Spread(d, spread);
#pragma GCC unroll 6
    for (int y = 0; y < kSide; ++y) half[y][x] = spread[y];
  }
  for (int y = 0; y < kSide; ++y) {
    Spread(half[y], spread);
#pragma GCC unroll 6
    for (int x = 0; x < kSide; ++x) {
      _mm512_store_si512(to + static_cast<std::size_t>(y * kSide + x) * stride, spread[x]);
    }
  }
}

struct Output {  // what becomes of 16 sums
  __m512 scale, bias, high, factor;
};

struct Finish {  // the same in memory
  const float *scale, *bias;
  float high, factor;
};

INLINE __m128i Quantized(__m512i multiple, int shift, const Output& o) {
  const __m512i inverse = _mm512_set1_epi32(static_cast<int>(kInverseOf9));
  const __m512i sum = _mm512_srai_epi32(_mm512_mullo_epi32(multiple, inverse), static_cast<unsigned>(shift));
  const __m512 value = _mm512_min_ps(_mm512_add_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(sum), o.scale), o.bias), o.high);
  const __m512i whole = _mm512_cvtps_epi32(_mm512_mul_ps(value, o.factor));
  return _mm512_cvtusepi32_epi8(_mm512_max_epi32(whole, _mm512_setzero_si512()));
}

// 16 outputs of a tile, of which `height` x `width` pixels are in the image, whose rows lie `row` bytes apart and pixels
// `pixel` bytes.
TARGET void GatherTile(const std::int32_t* from, std::size_t stride, const Finish& finish, int height, int width,
                       std::uint8_t* to, std::size_t row, std::size_t pixel) {
  const Output o{_mm512_load_ps(finish.scale), _mm512_load_ps(finish.bias), _mm512_set1_ps(finish.high),
                 _mm512_set1_ps(finish.factor)};
  __m512i half[kStep][kSide], m[kSide], gathered[kStep];
#pragma GCC unroll 6
  for (int x = 0; x < kSide; ++x) {
#pragma GCC unroll 6
    for (int y = 0; y < kSide; ++y) m[y] = _mm512_load_si512(from + static_cast<std::size_t>(y * kSide + x) * stride);
    Gather(m, gathered);
#pragma GCC unroll 4
    for (int y = 0; y < kStep; ++y) half[y][x] = gathered[y];
  }
#pragma GCC unroll 4
  for (int y = 0; y < kStep; ++y) {
    if (y == height) break;
    Gather(half[y], gathered);
#pragma GCC unroll 4
    for (int x = 0; x < kStep; ++x) {
      if (x == width) break;
      std::uint8_t* const place = to + static_cast<std::size_t>(y) * row + static_cast<std::size_t>(x) * pixel;
      _mm_storeu_si128(reinterpret_cast<__m128i*>(place), Quantized(gathered[x], kShift[y] + kShift[x], o));
    }
  }
}

}  // namespace

struct Winograd::Tile {
  std::size_t image;
  int y, x;  // of its first output
};

bool Winograd::Supported() { return HasAvx512Vnni(); }

bool Winograd::Fits(const Shape& s) {
  return s.channels % kHalf == 0 && s.outputs % kBlock == 0 && s.top >= 0 && s.top <= 1 && s.left >= 0 && s.left <= 1;
}

bool Winograd::Exact(const Shape& s, const std::int8_t* weights) {
  const std::size_t each = static_cast<std::size_t>(s.channels) * 9;
  for (int k = 0; k < s.outputs; ++k) {
    std::int64_t above = 0, below = 0;
    for (std::size_t i = 0; i < each; ++i) {
      const int weight = weights[static_cast<std::size_t>(k) * each + i];
      (weight > 0 ? above : below) += weight;
    }
    if (255 * std::max(above, -below) >= std::int64_t{1} << 25) return false;
  }
  return true;
}

// Counted in multiplications of registers, of which a CPU of this kind does two a cycle. The other numbers are measured:
// the direct kernels reach 96 % of that, a transform of a tile takes 12.5 for each channel of the input
// and 17.5 for each of the output; a byte of weights from memory costs a tenth, most of it being hidden.
bool Winograd::Pays(const Shape& s, std::size_t images, int threads) {
  const double share = static_cast<double>(images) / threads;  // each thread reads all the weights
  const double filters = static_cast<double>(s.channels) * s.outputs;
  const double pixels = share * s.output_height * s.output_width;
  const double tiles = share * Tiles(s.output_height) * Tiles(s.output_width);
  const double direct = filters * (pixels * 9 / 64 / 0.96 + 9 * 0.1);
  const double transforms = tiles * (12.5 * s.channels + 17.5 * s.outputs);
  return filters * (tiles * kPlaces / 32 + kPlaces * sizeof(std::int16_t) * 0.1) + transforms < direct;
}

Winograd::Winograd(const Shape& shape, const std::int8_t* weights, const float* scale, const float* bias, float high,
                   float factor)
    : shape_(shape),
      rows_(Tiles(shape.output_height)),
      columns_(Tiles(shape.output_width)),
      weights_(static_cast<std::size_t>(shape.outputs) * static_cast<std::size_t>(shape.channels) * kPlaces),
      scale_(scale, scale + shape.outputs),
      bias_(bias, bias + shape.outputs),
      zeros_(static_cast<std::size_t>(shape.channels)),
      high_(high),
      factor_(factor) {
  for (int block = 0; block < shape.outputs / kBlock; ++block) {
    for (int pair = 0; pair < shape.channels / 2; ++pair) Put(block, pair, weights);
  }
}

// The filters of 64 outputs and two channels, side by side as they come to lie.
void Winograd::Put(int block, int pair, const std::int8_t* weights) {
  constexpr int kFilters = 2 * kBlock;
  using Row = std::int16_t[kFilters];
  Row taps[3][3], half[kSide][3];
  for (int i = 0; i < kFilters; ++i) {
    const int output = block * kBlock + i / 2, channel = 2 * pair + i % 2;
    const std::int8_t* const from = weights + (static_cast<std::size_t>(output) * shape_.channels + channel) * 9;
    for (int tap = 0; tap < 9; ++tap) taps[tap / 3][tap % 3][i] = from[tap];
  }
  const auto combine = [](const int(&f)[3], const Row& a, const Row& b, const Row& c, std::int16_t* to) {
    for (int i = 0; i < kFilters; ++i) to[i] = static_cast<std::int16_t>(f[0] * a[i] + f[1] * b[i] + f[2] * c[i]);
  };
  for (int y = 0; y < kSide; ++y) {
    for (int x = 0; x < 3; ++x) combine(kFilter[y], taps[0][x], taps[1][x], taps[2][x], half[y][x]);
  }
  const std::size_t pairs = static_cast<std::size_t>(shape_.channels) / 2;
  for (int place = 0; place < kPlaces; ++place) {
    const Row(&row)[3] = half[place / kSide];
    const std::size_t at = (static_cast<std::size_t>(block) * kPlaces + place) * pairs + pair;
    combine(kFilter[place % kSide], row[0], row[1], row[2], &weights_[at * kFilters]);
  }
}

Winograd::Tile Winograd::At(std::size_t index) const {
  const std::size_t each = static_cast<std::size_t>(rows_) * static_cast<std::size_t>(columns_);
  const int in_image = static_cast<int>(index % each);
  return {index / each, in_image / columns_ * kStep, in_image % columns_ * kStep};
}

void Winograd::TransformInput(const std::uint8_t* src, std::size_t begin, std::size_t tiles, std::int16_t* to) const {
  const Shape& s = shape_;
  const std::size_t channels = static_cast<std::size_t>(s.channels), stride = InputStride(s.channels, tiles);
  for (std::size_t t = 0; t < tiles; ++t) {
    const Tile tile = At(begin + t);
    const int left = tile.x - s.left;
    const std::uint8_t* from[kPlaces];
    for (int i = 0; i < kSide; ++i) {
      const int y = tile.y - s.top + i;
      const bool row_inside = y >= 0 && y < s.height;
      const std::uint8_t* const row = src + (tile.image * s.height + (row_inside ? y : 0)) * s.width * channels;
      for (int j = 0; j < kSide; ++j) {
        const bool inside = row_inside && left + j >= 0 && left + j < s.width;
        from[i * kSide + j] = inside ? row + (left + j) * static_cast<std::ptrdiff_t>(channels) : zeros_.data();
      }
    }
    for (std::size_t c = 0; c < channels; c += kHalf) SpreadTile(from, c, to + t * channels + c, stride);
  }
}

void Winograd::Multiply(const std::int16_t* input, std::size_t tiles, int block, std::int32_t* to) const {
  const std::size_t channels = static_cast<std::size_t>(shape_.channels), stride = InputStride(shape_.channels, tiles);
  const int pairs = shape_.channels / 2;
  const std::size_t parts = (tiles + kRows - 1) / kRows;
  for (std::size_t place = 0; place < kPlaces; ++place) {
    const std::int16_t* const weights = &weights_[(block * kPlaces + place) * channels * kBlock];
    const std::int16_t* const next = weights + channels * kBlock;  // each part fetches a half of them
    for (std::size_t part = 0; part < parts; ++part) {  // as even as can be: a single tile would wait for itself
      const std::size_t first = tiles * part / parts, count = tiles * (part + 1) / parts - first;
      kMultiply[count](input + place * stride + first * channels, channels, weights, pairs,
                       to + place * ProductStride(tiles) + first * kBlock,
                       next + part % 2 * channels * kHalf);
    }
  }
}

void Winograd::TransformOutput(const std::int32_t* products, std::size_t begin, std::size_t tiles, int block,
                               std::uint8_t* dst) const {
  const Shape& s = shape_;
  const std::size_t pixel = static_cast<std::size_t>(s.outputs), row = pixel * static_cast<std::size_t>(s.output_width);
  for (int lane = 0; lane < kBlock; lane += kLane) {
    const int first = block * kBlock + lane;
    const Finish finish{&scale_[first], &bias_[first], high_, factor_};
    for (std::size_t t = 0; t < tiles; ++t) {
      const Tile tile = At(begin + t);
      std::uint8_t* const to = dst + (tile.image * s.output_height + tile.y) * row + tile.x * pixel + first;
      GatherTile(products + t * kBlock + lane, ProductStride(tiles), finish, std::min(kStep, s.output_height - tile.y),
                 std::min(kStep, s.output_width - tile.x), to, row, pixel);
    }
  }
}

std::size_t Winograd::ScratchBytes(int threads) const {
  const std::size_t sums = ProductStride(Group(shape_.channels)) * kPlaces;
  const std::size_t each = InputElements(shape_.channels) * sizeof(std::int16_t) + sums * sizeof(std::int32_t);
  return each * static_cast<std::size_t>(threads);
}

void Winograd::RunBatch(const std::uint8_t* src, std::size_t images, std::uint8_t* dst, void* scratch) const {
  const std::size_t total = images * static_cast<std::size_t>(rows_) * static_cast<std::size_t>(columns_);
  const auto threads = static_cast<std::size_t>(omp_get_max_threads());
  const std::size_t most = Group(shape_.channels);
  std::size_t groups = (total + most - 1) / most;
  groups = std::min((groups + threads - 1) / threads * threads, total);
  const std::size_t bytes = ScratchBytes(1);
#pragma omp parallel for schedule(static)
  for (std::size_t group = 0; group < groups; ++group) {
    char* const own = static_cast<char*>(scratch) + static_cast<std::size_t>(omp_get_thread_num()) * bytes;
    auto* const input = reinterpret_cast<std::int16_t*>(own);
    auto* const sums = reinterpret_cast<std::int32_t*>(input + InputElements(shape_.channels));
    const std::size_t begin = total * group / groups, tiles = total * (group + 1) / groups - begin;
    TransformInput(src, begin, tiles, input);
    for (int block = 0; block < shape_.outputs / kBlock; ++block) {
      Multiply(input, tiles, block, sums);
      TransformOutput(sums, begin, tiles, block, dst);
    }
  }
}
