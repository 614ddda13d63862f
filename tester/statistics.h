// Summary of the measured latencies.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numeric>
#include <vector>

struct Summary {
  double mean = 0, p50 = 0, p90 = 0, p99 = 0, min = 0, max = 0;
};

// Nearest rank: the smallest value that at least `percent` per cent of the values do not exceed; always one that was
// measured. Integers, because ceil(0.9 * 10) is 9 or 10 by the luck of rounding.
inline double Percentile(const std::vector<double>& sorted, std::size_t percent) {
  const std::size_t rank = (sorted.size() * percent + 99) / 100;
  return sorted[std::max<std::size_t>(rank, 1) - 1];
}

// `values` must not be empty.
inline Summary Summarise(std::vector<double> values) {
  const double sum = std::accumulate(values.begin(), values.end(), 0.0);
  std::sort(values.begin(), values.end());
  return {sum / static_cast<double>(values.size()), Percentile(values, 50), Percentile(values, 90),
          Percentile(values, 99), values.front(), values.back()};
}
