#include "latency_file.h"

#include "crc32.h"

namespace {

template <typename T>
void Append(T value, std::string* to) {
  auto bits = static_cast<std::uint64_t>(value);
  for (std::size_t i = 0; i < sizeof value; ++i, bits >>= 8) *to += static_cast<char>(bits & 0xFF);
}

}  // namespace

std::string LatencyFile(int images_per_query, const std::vector<Query>& queries) {
  const std::int64_t origin = queries.empty() ? 0 : queries[0].arrival_ns;
  std::string file("QAT8LAT\0", 8);
  file.reserve(36 + 24 * queries.size());
  Append(std::uint32_t{1}, &file);
  Append(static_cast<std::uint32_t>(images_per_query), &file);
  Append(static_cast<std::uint64_t>(queries.size()), &file);
  Append(origin, &file);
  for (const auto column : {&Query::arrival_ns, &Query::start_ns, &Query::end_ns}) {
    for (const Query& query : queries) Append(query.*column - origin, &file);
  }
  Append(Crc32(file.data(), file.size()), &file);
  return file;
}
