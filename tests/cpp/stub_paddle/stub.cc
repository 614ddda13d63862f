#include "paddle_inference_api.h"

#include <cmath>
#include <cstring>

namespace paddle_infer {

constexpr int kClasses = 10;

void Tensor::CopyFromCpu(const float* data) {
  shared_->assign(data, data + static_cast<long>(shape_[0]) * shape_[1] * shape_[2] * shape_[3]);
}

void Tensor::CopyToCpu(float* data) { std::memcpy(data, shared_->data(), shared_->size() * sizeof(float)); }

std::unique_ptr<Tensor> Predictor::GetInputHandle(const std::string&) {
  std::unique_ptr<Tensor> tensor(new Tensor);
  tensor->shared_ = &values_;
  input_ = tensor.get();
  return tensor;
}

std::unique_ptr<Tensor> Predictor::GetOutputHandle(const std::string&) {
  std::unique_ptr<Tensor> tensor(new Tensor);
  tensor->shared_ = &values_;
  output_ = tensor.get();
  return tensor;
}

bool Predictor::Run() {
  const std::size_t images = static_cast<std::size_t>(input_->shape_[0]), each = values_.size() / images;
  std::vector<float> scores;
  for (std::size_t i = 0; i < images; ++i) {
    for (int c = 0; c < kClasses; ++c) scores.push_back(-std::fabs(values_[i * each] - static_cast<float>(c)));
  }
  values_ = scores;
  output_->shape_ = {static_cast<int>(images), kClasses};
  return true;
}

std::shared_ptr<Predictor> CreatePredictor(const Config&) { return std::make_shared<Predictor>(); }
std::string GetVersion() { return "version: 2.0.0-beta0\ncommit: stub\nbranch: HEAD\n"; }

}  // namespace paddle_infer
