// Random numbers of the scenarios. Our own transformations of mt19937_64, whose output the C++ standard fixes bit by
// bit: those of std::exponential_distribution and std::uniform_int_distribution differ from library to library, and
// with them the load that a seed stands for.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <random>

// Arrivals of a Poisson process: the gaps are independent and exponentially distributed with mean 1 / rate.
class PoissonArrivals {
 public:
  PoissonArrivals(double per_second, std::uint64_t seed) : mean_ns_(1e9 / per_second), random_(seed) {}

  // Nanoseconds from the start to the next arrival. The sum is kept as a real number, so that roundings do not add up.
  std::int64_t Next() {
    const double uniform = static_cast<double>(random_() >> 11) * 0x1.0p-53;  // [0, 1): log1p(-uniform) is finite
    now_ns_ -= mean_ns_ * std::log1p(-uniform);
    return static_cast<std::int64_t>(now_ns_);
  }

 private:
  double mean_ns_, now_ns_ = 0;
  std::mt19937_64 random_;
};

// Which images a query holds: uniform, with replacement, as in MLPerf.
class SampleOrder {
 public:
  // Apart from the arrivals' generator with the same seed: the two must not go in step.
  explicit SampleOrder(std::uint64_t seed) : random_(seed ^ 0x9E3779B97F4A7C15u) {}

  // Below `count`; the remainder's bias is count / 2^64.
  std::size_t Below(std::size_t count) { return static_cast<std::size_t>(random_() % count); }

 private:
  std::mt19937_64 random_;
};
