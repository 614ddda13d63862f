// What one core can do at most: a measure for what a network reaches of it.
//
//   peak [SECONDS]   ->  {"fp32_flops_per_second": .., "int8_ops_per_second": .., "isa": "..", "bytes_per_second": ..}
//
// A multiplication and an addition count as two operations. Independent chains of registers keep both vector units
// busy: FP32 by fused multiply-add, INT8 by vpdpbusd (AVX-512 VNNI: 64 products of uint8 and int8 added into 16 int32) or,
// without VNNI, by vpmaddubsw and what oneDNN adds to it on such CPUs. Memory is read from an array that no cache holds.
#include <immintrin.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;
constexpr int kRounds = 20000;
constexpr std::size_t kArrayBytes = std::size_t{256} << 20;

// Keeps a register's value from being optimised away.
#define USED(x) asm volatile("" : "+x"(x))

// One call is kRounds x `chains` instructions; returns the operations that they are.
__attribute__((target("avx512f"))) double Fp32Avx512() {
  __m512 a[12];
  __m512 x = _mm512_set1_ps(0.999F), y = _mm512_set1_ps(0.001F);
  for (auto& v : a) v = _mm512_set1_ps(1.0F);
  for (int i = 0; i < kRounds; ++i) {
#pragma GCC unroll 12
    for (auto& v : a) v = _mm512_fmadd_ps(v, x, y);
  }
  for (auto& v : a) USED(v);
  return 12.0 * kRounds * 16 * 2;
}

__attribute__((target("avx512f,avx512vnni"))) double Int8Vnni() {
  __m512i a[12];
  __m512i x = _mm512_set1_epi8(3), y = _mm512_set1_epi8(-2);
  for (auto& v : a) v = _mm512_setzero_si512();
  for (int i = 0; i < kRounds; ++i) {
    USED(x);
#pragma GCC unroll 12
    for (auto& v : a) v = _mm512_dpbusd_epi32(v, x, y);
  }
  for (auto& v : a) USED(v);
  return 12.0 * kRounds * 64 * 2;
}

// Without VNNI one dot product takes three instructions: vpmaddubsw, vpmaddwd, vpaddd.
__attribute__((target("avx512f,avx512bw"))) double Int8Avx512() {
  __m512i a[12];
  __m512i x = _mm512_set1_epi8(3), y = _mm512_set1_epi8(-2), one = _mm512_set1_epi16(1);
  for (auto& v : a) v = _mm512_setzero_si512();
  for (int i = 0; i < kRounds; ++i) {
#pragma GCC unroll 12
    for (auto& v : a) {
      USED(x);
      v = _mm512_add_epi32(v, _mm512_madd_epi16(_mm512_maddubs_epi16(x, y), one));
    }
  }
  for (auto& v : a) USED(v);
  return 12.0 * kRounds * 64 * 2;
}

__attribute__((target("avx2,fma"))) double Fp32Avx2() {
  __m256 a[12];
  __m256 x = _mm256_set1_ps(0.999F), y = _mm256_set1_ps(0.001F);
  for (auto& v : a) v = _mm256_set1_ps(1.0F);
  for (int i = 0; i < kRounds; ++i) {
#pragma GCC unroll 12
    for (auto& v : a) v = _mm256_fmadd_ps(v, x, y);
  }
  for (auto& v : a) USED(v);
  return 12.0 * kRounds * 8 * 2;
}

__attribute__((target("avx2"))) double Int8Avx2() {
  __m256i a[12];
  __m256i x = _mm256_set1_epi8(3), y = _mm256_set1_epi8(-2), one = _mm256_set1_epi16(1);
  for (auto& v : a) v = _mm256_setzero_si256();
  for (int i = 0; i < kRounds; ++i) {
#pragma GCC unroll 12
    for (auto& v : a) {
      USED(x);
      v = _mm256_add_epi32(v, _mm256_madd_epi16(_mm256_maddubs_epi16(x, y), one));
    }
  }
  for (auto& v : a) USED(v);
  return 12.0 * kRounds * 32 * 2;
}

double ReadMemory() {
  static const std::vector<std::uint64_t> array(kArrayBytes / sizeof(std::uint64_t), 1);
  std::uint64_t sums[8] = {};
  for (std::size_t i = 0; i < array.size(); i += 8) {
#pragma GCC unroll 8
    for (std::size_t j = 0; j < 8; ++j) sums[j] += array[i + j];
  }
  for (std::uint64_t& sum : sums) asm volatile("" : "+r"(sum));
  return static_cast<double>(kArrayBytes);
}

// The best of many short stretches: what the core does when nothing else has it.
double PerSecond(double (*work)(), double seconds) {
  double best = 0;
  work();
  for (const auto start = Clock::now(); std::chrono::duration<double>(Clock::now() - start).count() < seconds;) {
    const auto begin = Clock::now();
    const double done = work();
    const double rate = done / std::chrono::duration<double>(Clock::now() - begin).count();
    if (rate > best) best = rate;
  }
  return best;
}

}  // namespace

int main(int argc, char** argv) {
  const double seconds = argc > 1 ? std::atof(argv[1]) : 0.3;
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw");
  const bool vnni = avx512 && __builtin_cpu_supports("avx512vnni");
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || seconds <= 0) {
    std::fputs(seconds <= 0 ? "error: SECONDS is not a number above 0\n" : "error: this CPU has no AVX2\n", stderr);
    return seconds <= 0 ? 2 : 5;
  }
  const double fp32 = PerSecond(avx512 ? Fp32Avx512 : Fp32Avx2, seconds);
  const double int8 = PerSecond(vnni ? Int8Vnni : avx512 ? Int8Avx512 : Int8Avx2, seconds);
  const double bytes = PerSecond(ReadMemory, seconds);
  std::printf("{\"fp32_flops_per_second\": %.6g, \"int8_ops_per_second\": %.6g, \"isa\": \"%s\", \"bytes_per_second\": %.6g}\n",
              fp32, int8, vnni ? "avx512_core_vnni" : avx512 ? "avx512_core" : "avx2", bytes);
}
