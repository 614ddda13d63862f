#include "scenario.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <string>
#include <utility>

#include "accuracy.h"
#include "arrivals.h"
#include "barrier.h"
#include "pixel_buffer.h"
#include "process_info.h"

namespace {

// Larger than the caches of a core, small enough for any machine: 427 images of 224 x 224.
constexpr std::size_t kPoolBytes = std::size_t{256} << 20;
constexpr std::size_t kServiceQueries = 64;  // at least, to know the latency without a queue

class Scenario {
 public:
  Scenario(const Flags& flags, DataFile* data, Predictor* predictor)
      : flags_(flags), data_(*data), predictor_(*predictor) {
    const std::size_t asked = static_cast<std::size_t>(flags.batch_size);
    size_ = std::min(asked, data_.count());
    const bool bytes = predictor->takes_bytes();
    const std::size_t fit = std::max(size_, kPoolBytes / PixelBuffer::ImageBytes(data_, bytes));
    run_.images_per_query = size_;
    run_.pool_images = std::min(fit, data_.count());
    pool_ = PixelBuffer(data_, run_.pool_images, bytes);
    pool_.Read(&data_, 0, run_.pool_images);
    if (!flags.with_accuracy_layer) run_.predictions.assign(run_.pool_images, -1);
  }

  ScenarioRun Do() {
    for (int i = 0; i < flags_.warmup_size; ++i) Predict(static_cast<std::size_t>(i) % Places());
    if (flags_.barrier) WaitAtBarrier();
    const ThreadTimes before = ReadThreadTimes();
    const std::int64_t start = MonotonicNow();
    if (flags_.scenario == "single-stream") SingleStream();
    if (flags_.scenario == "offline") Offline();
    if (flags_.scenario == "server") Server();
    const double seconds = static_cast<double>(MonotonicNow() - start) / 1e9;
    const ThreadTimes after = ReadThreadTimes();
    run_.threads_alive = static_cast<int>(after.size());
    run_.threads_busy = CountBusyThreads(before, after, seconds);
    run_.peak_rss_bytes = PeakRssBytes();
    if (progress_) std::fprintf(stderr, "\r\033[K");
    return run_;
  }

 private:
  // A query's images lie side by side in the pool, which holds so many queries. They do not overlap: an image is always
  // computed at the same place of a query, and so comes out the same to the last bit.
  std::size_t Places() const { return run_.pool_images / size_; }

  Query Predict(std::size_t place) {
    const std::size_t first = place * size_;
    Query query;
    query.arrival_ns = query.start_ns = MonotonicNow();
    predictor_.Run(static_cast<int>(size_), pool_.image(first), data_.labels().data() + first, &output_);
    query.end_ns = MonotonicNow();
    CheckOutput(first);
    return query;
  }

  void CheckOutput(std::size_t first) {
    if (flags_.with_accuracy_layer) return;
    for (std::size_t i = 0; i < size_; ++i) {
      const float* scores = output_.scores.data() + i * static_cast<std::size_t>(output_.classes);
      const int predicted = RankFinite(scores, output_.classes, 0, first + i).predicted;
      int& known = run_.predictions[first + i];
      if (known >= 0) CheckSameClass(first + i, known, predicted);
      known = predicted;
    }
  }

  void SingleStream() {
    SampleOrder order(Seed());
    run_.queries = Stream([&] { return order.Below(Places()); }, static_cast<std::size_t>(flags_.min_queries));
  }

  // In the file's order and over again, so that all images take their turn.
  void Offline() {
    std::size_t next = 0;
    run_.queries = Stream([&] { return next++ % Places(); }, static_cast<std::size_t>(flags_.min_queries));
  }

  // One query after the other until both the duration and the number of queries are reached.
  template <typename Place>
  std::vector<Query> Stream(Place place, std::size_t least) {
    std::vector<Query> queries;
    const std::int64_t until = MonotonicNow() + static_cast<std::int64_t>(flags_.duration * 1e9);
    do {
      queries.push_back(Predict(place()));
      Progress(queries, "");
    } while (queries.back().end_ns < until || queries.size() < least);
    run_.seconds = Seconds(queries);
    return queries;
  }

  void Server() {
    SampleOrder order(Seed());
    const std::vector<Query> alone = Stream([&] { return order.Below(Places()); }, kServiceQueries);
    run_.service = Summarise(Latencies(alone));
    if (run_.service.p99 > flags_.target_latency_ms) return;  // no rate can meet what an idle server does not
    run_.search = FindRate(1000 / run_.service.mean, Seed(),
                           [&](double rate, std::uint64_t seed) { return RunProbe(rate, seed); });
    run_.queries = met_[run_.search.rate];
    if (!run_.queries.empty()) run_.seconds = Seconds(run_.queries);
  }

  // The server takes the queries in the order of their arrival, one at a time. The arrivals are drawn beforehand and a
  // latency counts from there, so that a late server cannot slow its clients down and look good.
  Probe RunProbe(double rate, std::uint64_t seed) {
    Probe probe;
    probe.rate = rate;
    probe.seed = seed;
    probe.planned = std::max(static_cast<std::size_t>(flags_.min_queries),
                             static_cast<std::size_t>(std::ceil(rate * flags_.duration)));
    PoissonArrivals arrivals(rate, seed);
    SampleOrder order(seed);
    std::vector<Query> queries;
    const std::int64_t start = MonotonicNow();
    while (queries.size() < probe.planned && probe.late <= LateAllowed(probe.planned)) {
      const std::int64_t arrival = start + arrivals.Next();
      WaitUntil(arrival);
      queries.push_back(Predict(order.Below(Places())));
      queries.back().arrival_ns = arrival;
      probe.late += queries.back().latency_ms() > flags_.target_latency_ms;
      Progress(queries, "probe at " + std::to_string(std::lround(rate)) + " queries/s: ");
    }
    probe.queries = queries.size();
    probe.seconds = static_cast<double>(queries.back().end_ns - start) / 1e9;
    probe.p99_ms = Summarise(Latencies(queries)).p99;
    probe.meets = probe.late <= LateAllowed(probe.planned);
    if (probe.meets) met_[rate] = std::move(queries);
    return probe;
  }

  std::uint64_t Seed() const { return static_cast<std::uint64_t>(flags_.seed); }

  static double Seconds(const std::vector<Query>& queries) {
    return static_cast<double>(queries.back().end_ns - queries.front().arrival_ns) / 1e9;
  }

  static std::vector<double> Latencies(const std::vector<Query>& queries) {
    std::vector<double> ms;
    for (const Query& query : queries) ms.push_back(query.latency_ms());
    return ms;
  }

  void Progress(const std::vector<Query>& queries, const std::string& what) {
    const std::int64_t now = queries.back().end_ns;
    if (!progress_ || now - shown_ns_ < 200'000'000) return;
    shown_ns_ = now;
    std::fprintf(stderr, "\r\033[K%s%zu queries in %.1f s", what.c_str(), queries.size(), Seconds(queries));
  }

  const Flags& flags_;
  DataFile& data_;
  Predictor& predictor_;
  std::size_t size_ = 0;
  PixelBuffer pool_;
  Output output_;
  ScenarioRun run_;
  std::map<double, std::vector<Query>> met_;  // the queries of the last probe that met the target, by rate
  std::int64_t shown_ns_ = 0;
  const bool progress_ = isatty(STDERR_FILENO) != 0;
};

}  // namespace

ScenarioRun RunScenario(const Flags& flags, DataFile* data, Predictor* predictor) {
  return Scenario(flags, data, predictor).Do();
}
