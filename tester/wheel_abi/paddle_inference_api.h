// The part of Paddle's C++ inference API that the tester calls, declared by us for libpaddle.so of the paddlepaddle
// 2.6.2 wheel (Linux, x86-64), which exports these functions and comes without headers. A PADDLE_ROOT distribution has
// a header of this name of its own; then this file is never seen.
//
// Signatures follow the exported (mangled) names. Three facts about layout, marked ABI, hold for that version alone;
// cmake/paddle_wheel.cmake and predictor.cc refuse every other.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <new>
#include <string>
#include <unordered_set>
#include <vector>

#if !_GLIBCXX_USE_CXX11_ABI
#error "libpaddle.so 2.6.2 takes the std::string of _GLIBCXX_USE_CXX11_ABI=1"
#endif

namespace paddle {

class AnalysisConfig {
 public:
  AnalysisConfig();
  ~AnalysisConfig();
  AnalysisConfig(const AnalysisConfig&) = delete;
  AnalysisConfig& operator=(const AnalysisConfig&) = delete;

  void SetModel(const std::string& model_dir);
  void SetModel(const std::string& program_file, const std::string& params_file);
  void DisableGpu();
  void SwitchIrOptim(int on = 1);  // an int in the library's symbol, although it means a bool
  void EnableMKLDNN();
  void SetMkldnnCacheCapacity(int capacity);
  void EnableMkldnnInt8(const std::unordered_set<std::string>& op_types);
  void EnableMkldnnBfloat16();
  void EnableMemoryOptim(bool on = true);
  void SetCpuMathLibraryNumThreads(int threads);
  void DisableGlogInfo();
  void EnableProfile();

 private:
  // ABI: built, copied and destroyed inside libpaddle.so only; it needs room, 2,056 bytes in 2.6.2.
  alignas(64) unsigned char room_[16384];
};

}  // namespace paddle

namespace paddle_infer {

using Config = paddle::AnalysisConfig;

// ABI: as in Paddle's paddle_tensor.h; only the values that are passed are named.
enum class PlaceType { kCPU = 0 };
enum class DataLayout { kNCHW = 2 };

class Tensor {
 public:
  void Reshape(const std::vector<int>& shape);
  std::vector<int> shape() const;
  template <typename T>
  void CopyFromCpu(const T* data);
  template <typename T>
  void CopyToCpu(T* data) const;
  template <typename T>
  void ShareExternalData(const T* data, const std::vector<int>& shape, PlaceType place,
                         DataLayout layout = DataLayout::kNCHW);

  // The real object (104 bytes) is larger than this declaration, so it must not be freed by the sized form, whose size
  // AddressSanitizer and some allocators look at.
  static void operator delete(void* p) { ::operator delete(p); }

 private:
  Tensor();
  // ABI: the name comes first, and is the only member that needs destroying. No virtual functions.
  std::string name_;
};

class Predictor {
 public:
  std::vector<std::string> GetInputNames();
  std::vector<std::string> GetOutputNames();
  std::map<std::string, std::vector<std::int64_t>> GetInputTensorShape();
  std::unique_ptr<Tensor> GetInputHandle(const std::string& name);
  std::unique_ptr<Tensor> GetOutputHandle(const std::string& name);
  bool Run();

 private:
  // ABI: made by CreatePredictor, destroyed by the deleter that its shared_ptr brought along. No virtual functions.
  Predictor();
  ~Predictor();
};

std::shared_ptr<Predictor> CreatePredictor(const Config& config);
std::string GetVersion();

}  // namespace paddle_infer
