// Stands in for an inference distribution's header: the API as of Paddle 2.0-beta, which had neither GetInputTensorShape
// nor EnableMkldnnInt8, with a "network" that scores class c of an image by how near its first pixel is to c.
#pragma once

#include <memory>
#include <string>
#include <vector>

namespace paddle_infer {

class Config {
 public:
  void SetModel(const std::string&) {}
  void SetModel(const std::string&, const std::string&) {}
  void DisableGpu() {}
  void SwitchIrOptim(int = 1) {}
  void EnableMKLDNN() {}
  void SetMkldnnCacheCapacity(int) {}
  void EnableMemoryOptim() {}
  void SetCpuMathLibraryNumThreads(int) {}
  void DisableGlogInfo() {}
  void EnableProfile() {}
};

class Tensor {
 public:
  void Reshape(const std::vector<int>& shape) { shape_ = shape; }
  std::vector<int> shape() const { return shape_; }
  void CopyFromCpu(const float* data);
  void CopyFromCpu(const long*) {}
  void CopyToCpu(float* data);

 private:
  friend class Predictor;
  std::vector<int> shape_;
  std::vector<float>* shared_ = nullptr;
};

class Predictor {
 public:
  std::vector<std::string> GetInputNames() { return {"image"}; }
  std::vector<std::string> GetOutputNames() { return {"scores"}; }
  std::unique_ptr<Tensor> GetInputHandle(const std::string&);
  std::unique_ptr<Tensor> GetOutputHandle(const std::string&);
  bool Run();

 private:
  std::vector<float> values_;
  Tensor* input_ = nullptr;
  Tensor* output_ = nullptr;
};

std::shared_ptr<Predictor> CreatePredictor(const Config& config);
std::string GetVersion();

}  // namespace paddle_infer
