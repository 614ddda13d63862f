// The search for the highest rate of arrivals whose p99 stays within the target. It knows nothing of models or clocks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "statistics.h"

// One trial: `queries` Poisson arrivals at `rate`.
struct Probe {
  double rate = 0;  // queries/s asked for
  std::uint64_t seed = 0;
  std::size_t planned = 0;  // queries
  std::size_t queries = 0;  // that were run: fewer when the probe was lost before its end
  std::size_t late = 0;     // above the target
  double seconds = 0;       // from the start to the last completion
  double p99_ms = 0;        // of the queries that were run
  bool meets = false;
};

// So many of `queries` may be late while the nearest-rank p99 is within the target; one more and it is not. A probe
// that has more may stop: nothing that follows can bring its p99 back.
inline std::size_t LateAllowed(std::size_t queries) { return queries - (queries * 99 + 99) / 100; }

struct SearchResult {
  double rate = 0;         // 0: not even the lowest probe met the target
  bool confirmed = false;  // met it twice, by two seeds
  std::vector<Probe> probes;
};

// The search ends when the limit is known to 2 %; below 2 % of the capacity it is called none.
constexpr double kRateTolerance = 0.02;
constexpr std::size_t kMaxProbes = 24;

// Bisection below `capacity`, the rate at which the server would never rest: there the queue has no bound. Whether a
// rate meets the target is a matter of chance near the limit, so the rate found must meet it again with another seed;
// if it does not, the search goes on below it.
inline SearchResult FindRate(double capacity, std::uint64_t seed,
                             const std::function<Probe(double rate, std::uint64_t seed)>& probe) {
  SearchResult result;
  double low = 0, high = capacity;
  const auto meets = [&](double rate, std::uint64_t with) {
    result.probes.push_back(probe(rate, with));
    return result.probes.back().meets;
  };
  while (result.probes.size() < kMaxProbes) {
    if (high - low > kRateTolerance * high && high > kRateTolerance * capacity) {
      const double middle = (low + high) / 2;
      (meets(middle, seed) ? low : high) = middle;
    } else if (low == 0 || meets(low, seed + 1)) {
      result.confirmed = low > 0;
      break;
    } else {
      high = low;
      low = 0;
      for (const Probe& p : result.probes) {
        if (p.meets && p.rate < high && p.rate > low) low = p.rate;
      }
    }
  }
  result.rate = low;
  return result;
}
