// The predictor of the testers on our own engine, in place of the one on Paddle (../predictor.cc).
#include <cstddef>
#include <string>

#include "errors.h"
#include "executor.h"
#include "predictor.h"
#include "process_info.h"

extern "C" void omp_set_num_threads(int);

const char kTesterName[] = "engine";

std::string CheckLibraryVersion() { return "oneDNN " + onednn::Version(); }

struct Predictor::Handles {
  Handles(const Flags& flags, const Levels* levels)
      : executor(flags.infer_model, flags.batch_size, flags.micro_batch, {flags.own_kernels, flags.bf16, levels}) {}
  Executor executor;
};

namespace {

void CheckFlags(const Flags& flags) {
  const std::string only = " is of Paddle's tester alone";
  if (flags.int8_online) throw Error(kUsageError, "--int8_online" + only, "", "give the file of an INT8 model");
  if (flags.bf16) CheckBf16();
  if (flags.with_accuracy_layer) throw Error(kUsageError, "--with_accuracy_layer" + only);
}

}  // namespace

Predictor::Predictor(const Flags& flags, int height, int width, const Levels* levels)
    : model_(flags.infer_model), accuracy_layer_(false), height_(height), width_(width) {
  CheckFlags(flags);
  omp_set_num_threads(flags.num_threads);  // before any primitive is made: each is laid out for so many threads
  handles_ = std::make_unique<Handles>(flags, levels);
  CheckInputs();
}

Predictor::~Predictor() = default;

void Predictor::CheckInputs() const {
  const Tensor& input = handles_->executor.file().input();
  if (input.height == static_cast<std::uint32_t>(height_) && input.width == static_cast<std::uint32_t>(width_)) return;
  throw Error(kDataError,
              "the data file's images are 3 x " + std::to_string(height_) + " x " + std::to_string(width_),
              "3 x " + std::to_string(input.height) + " x " + std::to_string(input.width) + " for " + model_,
              "preprocess the images for this model");
}

bool Predictor::takes_bytes() const { return handles_->executor.takes_bytes(); }

void Predictor::Run(int images, const void* pixels, const std::int64_t*, Output* output) {
  Executor& executor = handles_->executor;
  const auto count = static_cast<std::size_t>(images);
  output->classes = static_cast<int>(executor.file().classes());
  output->scores.resize(count * executor.file().classes());
  executor.Run(count, pixels, output->scores.data());
}
