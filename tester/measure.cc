#include "measure.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>

#include "accuracy.h"
#include "errors.h"
#include "pixel_buffer.h"
#include "process_info.h"

namespace {

using Clock = std::chrono::steady_clock;

double MillisecondsSince(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

class Run {
 public:
  Run(const Flags& flags, DataFile* data, Predictor* predictor, Profiler* profiler)
      : flags_(flags),
        data_(*data),
        predictor_(*predictor),
        profiler_(*profiler),
        size_(std::min<std::size_t>(static_cast<std::size_t>(flags.batch_size), data->count())),
        pixels_(*data, size_, predictor->takes_bytes()) {
    full_ = data_.count() / static_cast<std::size_t>(flags.batch_size);
    batches_ = (data_.count() + size_ - 1) / size_;
    // A file smaller than the batch size has no full batch; then its partial batch is what is measured.
    timed_ = std::max<std::size_t>(full_, 1);
  }

  Measurement Do() {
    for (int i = 0; i < flags_.warmup_size; ++i) {
      Predict(static_cast<std::size_t>(i) % timed_);
      profiler_.Collect(false);
      Progress("warm-up", static_cast<std::size_t>(i) + 1, static_cast<std::size_t>(flags_.warmup_size));
    }
    const ThreadTimes before = ReadThreadTimes();
    const Clock::time_point start = Clock::now();
    FirstPass();
    SecondPass();
    const double seconds = MillisecondsSince(start) / 1000;
    const ThreadTimes after = ReadThreadTimes();
    result_.threads_alive = static_cast<int>(after.size());
    result_.threads_busy = CountBusyThreads(before, after, seconds);
    result_.peak_rss_bytes = PeakRssBytes();
    if (progress_) std::fprintf(stderr, "\r\033[K");
    return result_;
  }

 private:
  std::size_t ImagesOf(std::size_t batch) const { return std::min(size_, data_.count() - batch * size_); }

  // Predicts a batch and returns its latency; reading and normalising the images is not part of it, and what the disk
  // has to do for the next batch goes on beside it. A thread that reads ahead would take time from the very CPUs that
  // are measured.
  double Predict(std::size_t batch) {
    const std::size_t start = batch * size_, n = ImagesOf(batch);
    const Clock::time_point reading = Clock::now();
    pixels_.Read(&data_, start, n);
    data_.WillRead(start + n, size_);
    last_read_ms_ = MillisecondsSince(reading);
    const Clock::time_point begin = Clock::now();
    predictor_.Run(static_cast<int>(n), pixels_.image(0), data_.labels().data() + start, &output_);
    return MillisecondsSince(begin);
  }

  void FirstPass() {
    std::size_t todo = batches_;
    if (flags_.iterations > 0) todo = std::min(todo, static_cast<std::size_t>(flags_.iterations));
    for (std::size_t batch = 0; batch < todo; ++batch) {
      const double ms = Predict(batch);
      const bool timed = batch < timed_;
      profiler_.Collect(timed);
      if (timed) AddLatency(batch, ms);
      if (batch >= full_) {
        result_.partial_images = ImagesOf(batch);
        result_.partial_ms = ms;
      }
      CountAccuracy(batch);
      Progress("batch", batch + 1, todo);
    }
    result_.top1 /= static_cast<double>(result_.images);
    result_.top5 /= static_cast<double>(result_.images);
  }

  void SecondPass() {
    for (std::size_t i = 0; result_.measured_ms < flags_.min_seconds * 1000; ++i) {
      AddLatency(i % timed_, Predict(i % timed_));
      profiler_.Collect(true);
      CheckSameClasses(i % timed_);
      Progress("second of speed", static_cast<std::size_t>(result_.measured_ms / 1000),
               static_cast<std::size_t>(flags_.min_seconds));
    }
  }

  void AddLatency(std::size_t batch, double ms) {
    result_.latencies_ms.push_back(ms);
    result_.measured_images += ImagesOf(batch);
    result_.measured_ms += ms;
    result_.read_ms += last_read_ms_;
  }

  void CountAccuracy(std::size_t batch) {
    const std::size_t n = ImagesOf(batch);
    result_.images += n;
    if (flags_.with_accuracy_layer) {
      result_.top1 += output_.top1 * static_cast<double>(n);
      result_.top5 += output_.top5 * static_cast<double>(n);
      return;
    }
    CheckLabels();
    for (std::size_t i = 0; i < n; ++i) {
      const std::size_t image = batch * size_ + i;
      const Ranking r = RankFinite(Scores(i), output_.classes, data_.labels()[image], image);
      result_.predictions.push_back(r.predicted);
      result_.top1 += r.rank < 1;
      result_.top5 += r.rank < 5;
    }
  }

  void CheckSameClasses(std::size_t batch) const {
    if (flags_.with_accuracy_layer) return;
    for (std::size_t i = 0; i < ImagesOf(batch); ++i) {
      const std::size_t image = batch * size_ + i;
      if (image >= result_.predictions.size()) return;  // `iterations` ended pass 1 before this image
      CheckSameClass(image, result_.predictions[image], RankFinite(Scores(i), output_.classes, 0, image).predicted);
    }
  }

  const float* Scores(std::size_t row) const {
    return output_.scores.data() + row * static_cast<std::size_t>(output_.classes);
  }

  void CheckLabels() const {
    if (data_.max_label() < output_.classes) return;
    throw Error(kDataError, flags_.infer_data + ": has label " + std::to_string(data_.max_label()),
                "0 to " + std::to_string(output_.classes - 1) + ", the model's classes",
                "a data file that fits the model");
  }

  void Progress(const char* what, std::size_t done, std::size_t of) const {
    if (progress_) std::fprintf(stderr, "\r\033[K%s %zu of %zu", what, done, of);
  }

  const Flags& flags_;
  DataFile& data_;
  Predictor& predictor_;
  Profiler& profiler_;
  std::size_t size_;
  PixelBuffer pixels_;
  std::size_t full_, batches_, timed_;
  double last_read_ms_ = 0;
  Output output_;
  Measurement result_;
  const bool progress_ = isatty(STDERR_FILENO) != 0;
};

}  // namespace

Measurement Measure(const Flags& flags, DataFile* data, Predictor* predictor, Profiler* profiler) {
  return Run(flags, data, predictor, profiler).Do();
}
