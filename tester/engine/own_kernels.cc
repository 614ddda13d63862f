// Convolutions that our own kernels do instead of oneDNN's, with the same result to the bit.

#include <algorithm>

#include "network.h"
#include "threads.h"

namespace {

// What follows a convolution's sum, one scale and bias for each output even where the file has fewer.
struct Epilogue {
  std::vector<float> scale, bias;
  float high, factor;
};

Epilogue MakeEpilogue(const Operator& op, std::size_t outputs) {
  // Nothing above 2^24 steps changes what saturates at 255; more would not fit an integer.
  Epilogue made{std::vector<float>(outputs), std::vector<float>(outputs), op.destination_scale * (1 << 24),
                1 / op.destination_scale};
  for (std::size_t c = 0; c < outputs; ++c) {
    const float weight = op.weight_scales[op.weight_scale_count == 1 ? 0 : c];
    made.scale[c] = op.source_scale * weight;
    made.bias[c] = op.bias == nullptr ? 0 : op.bias[c];
  }
  if (op.activation == Activation::kClip) made.high = std::min(made.high, op.beta);
  return made;
}

// What both kernels are made for: 3 x 3, from uint8 to uint8, nothing added.
bool Fits(const Operator& op, const Tensor& from) {
  // Below zero everything becomes 0, ReLU or not, because the output is uint8.
  const bool cut = op.activation != Activation::kClip || (op.alpha <= 0 && op.beta > 0);
  const bool three = op.kernel[0] == 3 && op.kernel[1] == 3 && op.dilations[0] == 1 && op.dilations[1] == 1;
  return cut && three && op.strides[0] == op.strides[1] && from.type == Type::kUint8 && op.writes == Type::kUint8 &&
         op.weights_type == Type::kInt8 && op.second == kNoTensor;
}

}  // namespace

const Winograd* Weights::Transformed(std::size_t index, const Winograd::Shape& shape) {
  const auto [place, is_new] = transformed_.try_emplace(index);
  const Operator& op = file_.operators()[index];
  const auto* const weights = static_cast<const std::int8_t*>(op.weights);
  if (is_new && Winograd::Exact(shape, weights)) {
    const Epilogue e = MakeEpilogue(op, static_cast<std::size_t>(shape.outputs));
    place->second = std::make_unique<Winograd>(shape, weights, e.scale.data(), e.bias.data(), e.high, e.factor);
  }
  return place->second.get();
}

std::size_t Weights::transformed() const {
  return static_cast<std::size_t>(
      std::count_if(transformed_.begin(), transformed_.end(), [](const auto& kept) { return kept.second != nullptr; }));
}

bool Network::AddDepthwise(std::size_t index) {
  const Operator& op = file_.operators()[index];
  const Tensor &from = file_.tensors()[op.source], &to = file_.tensors()[op.destination];
  const Depthwise::Shape shape{static_cast<int>(from.channels), static_cast<int>(from.height),
                               static_cast<int>(from.width),    static_cast<int>(op.strides[0]),
                               static_cast<int>(op.padding_front[0]), static_cast<int>(op.padding_front[1]),
                               static_cast<int>(to.height),     static_cast<int>(to.width)};
  if (!Depthwise::Supported() || !Depthwise::Fits(shape) || !Fits(op, from) || op.groups != from.channels ||
      to.channels != from.channels) {
    return false;
  }
  const Epilogue e = MakeEpilogue(op, to.channels);
  depthwise_.push_back(std::make_unique<Depthwise>(shape, static_cast<const std::int8_t*>(op.weights), e.scale.data(),
                                                   e.bias.data(), e.high, e.factor));
  Step step;
  step.name = file_.Name(index);
  step.work = [this, kernel = depthwise_.back().get(), source = Place(op.source), place = Place(op.destination)] {
    kernel->RunBatch(reinterpret_cast<const std::uint8_t*>(source), batch_, reinterpret_cast<std::uint8_t*>(place));
  };
  steps_.push_back(std::move(step));
  return true;
}

bool Network::AddWinograd(std::size_t index) {
  const Operator& op = file_.operators()[index];
  const Tensor &from = file_.tensors()[op.source], &to = file_.tensors()[op.destination];
  const Winograd::Shape shape{static_cast<int>(from.channels), static_cast<int>(from.height),
                              static_cast<int>(from.width),    static_cast<int>(to.channels),
                              static_cast<int>(op.padding_front[0]), static_cast<int>(op.padding_front[1]),
                              static_cast<int>(to.height),     static_cast<int>(to.width)};
  const int threads = omp_get_max_threads();
  if (!Winograd::Supported() || !Winograd::Fits(shape) || !Fits(op, from) || op.groups != 1 || op.strides[0] != 1 ||
      !Winograd::Pays(shape, batch_, threads)) {
    return false;
  }
  const Winograd* const kernel = weights_.Transformed(index, shape);
  if (kernel == nullptr) return false;
  scratchpad_bytes_ = std::max(scratchpad_bytes_, kernel->ScratchBytes(threads));
  Step step;
  step.name = file_.Name(index);
  step.work = [this, kernel, source = Place(op.source), place = Place(op.destination)] {
    kernel->RunBatch(reinterpret_cast<const std::uint8_t*>(source), batch_, reinterpret_cast<std::uint8_t*>(place),
                     scratchpad_.get());
  };
  steps_.push_back(std::move(step));
  return true;
}
