#include "soak.h"

#include <algorithm>
#include <cstdio>
#include <vector>

#include "accuracy.h"
#include "arrivals.h"
#include "barrier.h"
#include "errors.h"
#include "json_writer.h"
#include "pixel_buffer.h"
#include "process_info.h"

namespace {

constexpr std::size_t kPoolBytes = std::size_t{64} << 20;  // 106 images of 224 x 224: nothing is read any more
constexpr std::int64_t kSecond = 1'000'000'000;

class Soak {
 public:
  Soak(const Flags& flags, DataFile* data, Predictor* predictor)
      : flags_(flags), data_(*data), predictor_(*predictor), order_(static_cast<std::uint64_t>(flags.seed)) {
    largest_ = std::min(static_cast<std::size_t>(flags.batch_size), data_.count());
    const bool bytes = predictor->takes_bytes();
    const std::size_t fit = std::max(largest_, kPoolBytes / PixelBuffer::ImageBytes(data_, bytes));
    run_.pool_images = std::min(fit, data_.count());
    pool_ = PixelBuffer(data_, run_.pool_images, bytes);
    pool_.Read(&data_, 0, run_.pool_images);
    classes_.assign(run_.pool_images, -1);
    for (std::size_t size = 1; size <= largest_ && flags.vary_batch; ++size) sizes_.push_back(size);
    if (sizes_.empty()) sizes_.push_back(largest_);
  }

  SoakRun Do() {
    if (flags_.barrier) WaitAtBarrier();
    const std::int64_t start = MonotonicNow(), until = start + static_cast<std::int64_t>(flags_.duration * 1e9);
    std::int64_t now = start, shown = start;
    for (std::size_t step = 0; now < until || run_.rounds == 0; ++step) {
      if (step % sizes_.size() == 0) Shuffle();
      Predict(sizes_[step % sizes_.size()]);
      run_.rounds += (step + 1) % sizes_.size() == 0;
      now = MonotonicNow();
      run_.seconds = static_cast<double>(now - start) / 1e9;
      if (now - shown >= kSecond) {
        shown = now;
        Say();
      }
    }
    Say();
    run_.threads_alive = static_cast<int>(ReadThreadTimes().size());
    run_.peak_rss_bytes = PeakRssBytes();
    return run_;
  }

 private:
  void Shuffle() {
    for (std::size_t i = sizes_.size(); i > 1; --i) std::swap(sizes_[i - 1], sizes_[order_.Below(i)]);
  }

  void Predict(std::size_t images) {
    if (next_ + images > run_.pool_images) next_ = 0;
    predictor_.Run(static_cast<int>(images), pool_.image(next_), data_.labels().data() + next_, &output_);
    for (std::size_t i = 0; i < images; ++i) Check(next_ + i, i);
    next_ += images;
    ++run_.batches;
    run_.images += images;
  }

  void Check(std::size_t image, std::size_t row) {
    const float* scores = output_.scores.data() + row * static_cast<std::size_t>(output_.classes);
    const int predicted = RankFinite(scores, output_.classes, 0, image).predicted;
    if (classes_[image] < 0) classes_[image] = predicted;
    run_.other_class += classes_[image] != predicted;
  }

  void Say() const {
    std::printf("soak: %.1f s, rounds %zu, batches %zu, images %zu, other class %zu\n", run_.seconds, run_.rounds,
                run_.batches, run_.images, run_.other_class);
    if (std::fflush(stdout) != 0) throw Error(kMachineError, "cannot write to standard output");
  }

  const Flags& flags_;
  DataFile& data_;
  Predictor& predictor_;
  SampleOrder order_;
  std::size_t largest_ = 0, next_ = 0;
  std::vector<std::size_t> sizes_;
  PixelBuffer pool_;
  std::vector<int> classes_;
  Output output_;
  SoakRun run_;
};

}  // namespace

SoakRun RunSoak(const Flags& flags, DataFile* data, Predictor* predictor) { return Soak(flags, data, predictor).Do(); }

void PrintSoak(const Flags& flags, const SoakRun& run) {
  std::printf("Model: %s\n", flags.infer_model.c_str());
  std::printf("====== scenario: soak, batches of %s%d images ======\n", flags.vary_batch ? "1 to " : "",
              flags.batch_size);
  std::printf("images: %zu in %.1f s, %zu in another class than the first time\n", run.images, run.seconds,
              run.other_class);
  std::printf("peak memory: %.1f MiB\n", static_cast<double>(run.peak_rss_bytes) / (1 << 20));
}

std::string SoakJson(const Flags& flags, const Setting& setting, const SoakRun& run) {
  JsonObject json(",\n ");
  json.Integer("schema", 1).Text("tester", kTesterName).Text("scenario", flags.scenario);
  json.Text("paddle_version", setting.paddle_version);
  json.Text("infer_model", flags.infer_model).Text("infer_data", flags.infer_data);
  json.Integer("batch_size", flags.batch_size).Raw("vary_batch", flags.vary_batch ? "true" : "false");
  json.Integer("num_threads", flags.num_threads).Integer("seed", flags.seed).Real("duration", flags.duration);
  json.Integer("pool_images", static_cast<long long>(run.pool_images));
  json.Integer("batches", static_cast<long long>(run.batches)).Integer("images", static_cast<long long>(run.images));
  json.Integer("rounds", static_cast<long long>(run.rounds));
  json.Integer("other_class", static_cast<long long>(run.other_class)).Real("seconds", run.seconds);
  json.Real("init_ms", setting.init_ms).Integer("peak_rss_bytes", run.peak_rss_bytes);
  json.Integer("threads_alive", run.threads_alive).Raw("affinity", JsonArray(setting.affinity));
  return json.str() + "\n";
}
