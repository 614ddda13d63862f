#include "normalise.h"

#include <immintrin.h>

#include <algorithm>
#include <cstdint>

namespace {

constexpr __mmask16 kAll = 0xFFFF;  // of the forms without a mask GCC 12 warns that they use what was never set
constexpr std::size_t kLine = 64;  // bytes of a cache line, and of a register

// Sixteen pixels at a time; returns how many it did.
template <bool kPastCaches>
__attribute__((target("avx512f"))) std::size_t WithAvx512(const unsigned char* from, std::size_t n, float mean,
                                                          float std, float* out) {
  const __m512 most = _mm512_set1_ps(255.0f), means = _mm512_set1_ps(mean), stds = _mm512_set1_ps(std);
  std::size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i));
    const __m512 share = _mm512_div_ps(_mm512_maskz_cvtepi32_ps(kAll, _mm512_maskz_cvtepu8_epi32(kAll, bytes)), most);
    const __m512 value = _mm512_div_ps(_mm512_sub_ps(share, means), stds);
    kPastCaches ? _mm512_stream_ps(out + i, value) : _mm512_storeu_ps(out + i, value);
  }
  return i;
}

}  // namespace

void Normalise(const unsigned char* from, std::size_t n, float mean, float std, const std::array<float, 256>& levels,
               bool past_caches, float* out) {
  static const bool kAvx512 = __builtin_cpu_supports("avx512f");
  std::size_t done = 0;
  if (kAvx512) {
    const bool aligned = reinterpret_cast<std::uintptr_t>(out) % kLine == 0;
    done = past_caches && aligned ? WithAvx512<true>(from, n, mean, std, out)
                                  : WithAvx512<false>(from, n, mean, std, out);
  }
  std::transform(from + done, from + n, out + done, [&](unsigned char u) { return levels[u]; });
}

void FinishStores() { _mm_sfence(); }
