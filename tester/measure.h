// The measurement: what is predicted, what is timed, what is counted.
#pragma once

#include <optional>
#include <vector>

#include "data_file.h"
#include "flags.h"
#include "predictor.h"
#include "profile.h"

struct Measurement {
  std::size_t images = 0;  // predicted in pass 1
  std::vector<double> latencies_ms;
  std::size_t measured_images = 0;
  double measured_ms = 0;
  double read_ms = 0;  // reading and normalising the measured batches: beside their latencies, not in them
  std::size_t partial_images = 0;  // of the last, smaller batch; 0 if there was none
  double partial_ms = 0;
  double top1 = 0, top5 = 0;
  std::vector<int> predictions;
  int threads_alive = 0, threads_busy = 0;
  std::int64_t peak_rss_bytes = 0;

  double images_per_second() const { return static_cast<double>(measured_images) / measured_ms * 1000; }
};

// Pass 1 predicts every image once (or `iterations` batches) and counts accuracy; pass 2 goes on over the full batches
// until `min_seconds` were measured, and must name the same classes (kVerificationError). The last, partial batch counts for accuracy, not for speed, unless it is the only.
Measurement Measure(const Flags& flags, DataFile* data, Predictor* predictor, Profiler* profiler);
