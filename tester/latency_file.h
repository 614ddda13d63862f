// The raw times of a scenario's queries in a compact file.
//
// All numbers are little endian:
//   bytes 0-7    magic "QAT8LAT" and a zero byte
//   8-11         uint32: version, 1
//   12-15        uint32: images of a query
//   16-23        uint64: n, the number of queries
//   24-31        int64: nanosecond on CLOCK_MONOTONIC that the columns count from
//   then         int64[n]: arrival of each query in nanoseconds, in order; in the server scenario as scheduled, in the
//                others the moment at which it was given to the model
//   then         int64[n]: the moment at which it was given to the model
//   then         int64[n]: its completion
//   then         uint32: CRC-32 (zlib's) of all bytes before
// The latency of a query is completion - arrival. src/qat8/latencies.py reads it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

struct Query {
  std::int64_t arrival_ns = 0, start_ns = 0, end_ns = 0;  // on CLOCK_MONOTONIC

  double latency_ms() const { return static_cast<double>(end_ns - arrival_ns) / 1e6; }
};

std::string LatencyFile(int images_per_query, const std::vector<Query>& queries);
