// What the scenarios rest on, without a model:
//   simulate arrivals RATE SEED N            the first N arrivals, in nanoseconds, one a line
//   simulate samples COUNT SEED N            the first N of SampleOrder, below COUNT
//   simulate search SERVICE_MS TARGET_MS N   the rate search on a simulated server that takes SERVICE_MS for each of the
//                                            N queries of a probe: rate, confirmed, then "rate seed late p99 meets"
//   simulate late N                          LateAllowed(N)
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "arrivals.h"
#include "rate_search.h"

Probe Simulate(double rate, std::uint64_t seed, double service_ms, double target_ms, std::size_t queries) {
  Probe probe;
  probe.rate = rate, probe.seed = seed, probe.planned = probe.queries = queries;
  PoissonArrivals arrivals(rate, seed);
  std::vector<double> latencies;
  double free_ms = 0;
  for (std::size_t i = 0; i < queries; ++i) {
    const double arrival = static_cast<double>(arrivals.Next()) / 1e6;
    free_ms = std::max(free_ms, arrival) + service_ms;
    latencies.push_back(free_ms - arrival);
    probe.late += latencies.back() > target_ms;
  }
  probe.p99_ms = Summarise(latencies).p99;
  probe.meets = probe.late <= LateAllowed(queries);
  return probe;
}

int main(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "";
  if (what == "arrivals" && argc == 5) {
    PoissonArrivals arrivals(std::atof(argv[2]), std::strtoull(argv[3], nullptr, 10));
    for (int i = std::atoi(argv[4]); i > 0; --i) std::printf("%lld\n", static_cast<long long>(arrivals.Next()));
  } else if (what == "samples" && argc == 5) {
    SampleOrder order(std::strtoull(argv[3], nullptr, 10));
    for (int i = std::atoi(argv[4]); i > 0; --i) std::printf("%zu\n", order.Below(std::strtoull(argv[2], nullptr, 10)));
  } else if (what == "search" && argc == 5) {
    const double service = std::atof(argv[2]), target = std::atof(argv[3]);
    const std::size_t queries = std::strtoull(argv[4], nullptr, 10);
    const SearchResult found = FindRate(1000 / service, 1, [&](double rate, std::uint64_t seed) {
      return Simulate(rate, seed, service, target, queries);
    });
    std::printf("%.17g %d\n", found.rate, found.confirmed);
    for (const Probe& p : found.probes) {
      std::printf("%.17g %llu %zu %.17g %d\n", p.rate, static_cast<unsigned long long>(p.seed), p.late, p.p99_ms, p.meets);
    }
  } else if (what == "late" && argc == 3) {
    std::printf("%zu\n", LateAllowed(std::strtoull(argv[2], nullptr, 10)));
  } else {
    return 2;
  }
  return 0;
}
