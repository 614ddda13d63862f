// Reads the engine's file of a model; src/qat8/export/file.py documents the format.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "onednn.h"

enum class Type : std::uint32_t { kNone = 0, kFloat32 = 1, kUint8 = 2, kInt8 = 3 };

inline std::size_t Bytes(Type type) { return type == Type::kFloat32 ? 4 : 1; }

struct Tensor {
  Type type = Type::kNone;
  std::uint32_t channels = 0, height = 0, width = 0;

  std::size_t elements() const { return std::size_t{channels} * height * width; }  // of one image
  std::size_t bytes() const { return elements() * Bytes(type); }
};

enum class Kind : std::uint32_t {
  kQuantize = 1,
  kDequantize = 2,
  kConvolution = 3,
  kMaxPooling = 4,
  kAveragePooling = 5,
  kLinear = 6,
  kAddition = 7,
  kAveragePoolingWithPadding = 8,
  kSoftmax = 9,
};

enum class Activation : std::uint32_t { kNone = 0, kRelu = 1, kClip = 2 };

constexpr std::uint32_t kNoTensor = UINT32_MAX;

// Pointers go into the file's content; null where the operator has none.
struct Operator {
  Kind kind{};
  std::uint32_t source = 0, second = kNoTensor, destination = 0;
  std::uint32_t kernel[2] = {1, 1}, strides[2] = {1, 1};
  std::uint32_t padding_front[2] = {0, 0}, padding_back[2] = {0, 0};  // top, left; bottom, right
  std::uint32_t dilations[2] = {1, 1};
  std::uint32_t groups = 1;
  Activation activation = Activation::kNone;
  float alpha = 0, beta = 0;
  float source_scale = 1, second_scale = 1, destination_scale = 1;
  Type writes = Type::kNone;  // never kNone after reading
  Type weights_type = Type::kNone;
  const void* weights = nullptr;
  const float* bias = nullptr;
  const float* weight_scales = nullptr;
  std::uint32_t weight_scale_count = 0;
};

class PlanFile {
 public:
  // Reads the whole file and checks everything that the engine relies on: sums, sizes, indices, shapes, types.
  explicit PlanFile(const std::string& path);

  const std::string& path() const { return path_; }
  const std::vector<Tensor>& tensors() const { return tensors_; }
  const std::vector<Operator>& operators() const { return operators_; }
  const Tensor& input() const { return tensors_.front(); }
  std::uint32_t classes() const { return tensors_[operators_.back().destination].channels; }
  bool int8() const { return int8_; }
  // "operator 3 (convolution)", for messages.
  std::string Name(std::size_t index) const;

 private:
  void Read();
  void ReadHeader();
  void ReadTensors();
  void ReadOperator(std::size_t index);
  void CheckFlow(std::size_t index) const;
  void CheckWindow(std::size_t index) const;
  void CheckTypes(std::size_t index) const;
  void CheckNumbers(std::size_t index) const;
  const void* Array(std::size_t index, std::uint64_t offset, std::uint64_t bytes) const;
  [[noreturn]] void Fail(const std::string& fact, const std::string& expected) const;
  [[noreturn]] void FailAt(std::size_t index, const std::string& fact) const;

  std::string path_;
  onednn::Buffer content_;
  std::size_t size_ = 0, data_offset_ = 0;
  bool int8_ = false;
  std::size_t operator_count_ = 0;
  std::vector<Tensor> tensors_;
  std::vector<Operator> operators_;
  std::vector<bool> written_;
};
