// A model for one batch size: oneDNN primitives, made once, and the memory that they share.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "depthwise.h"
#include "levels.h"
#include "memory_plan.h"
#include "onednn.h"
#include "plan_file.h"
#include "winograd.h"

// Weights in the layouts that primitives ask for; one copy for all networks that ask for the same.
class Weights {
 public:
  Weights(const PlanFile& file, const onednn::Cpu& cpu) : file_(file), cpu_(cpu) {}

  // The weights of an operator, which lie row by row in the file as `plain` says, in the layout `wanted`.
  dnnl_memory* Get(std::size_t index, const dnnl_memory_desc* plain, const dnnl_memory_desc* wanted);
  // float32 values that lie in the file.
  dnnl_memory* Values(const float* values, std::size_t count);
  // One float32 value.
  dnnl_memory* Value(float value);
  // The kernel of an operator with its transformed weights, eight times the file's; null where they would not be exact.
  const Winograd* Transformed(std::size_t index, const Winograd::Shape& shape);
  std::size_t transformed() const;  // how many there are

 private:
  struct Packed {
    onednn::Desc desc;
    onednn::Buffer bytes;
    onednn::Memory memory;
  };
  const PlanFile& file_;
  const onednn::Cpu& cpu_;
  std::multimap<std::size_t, Packed> packed_;
  std::map<const float*, onednn::Memory> values_;
  std::map<std::size_t, std::unique_ptr<Winograd>> transformed_;  // null: looked at, and not exact
  std::map<float, std::pair<std::unique_ptr<float>, onednn::Memory>> single_;
};

struct NetworkOptions {
  bool own_kernels = true;         // depthwise.h and winograd.h where they fit; false: all by oneDNN
  bool bf16 = false;               // in bfloat16: what an FP32 file computes in float32 but for biases and scores
  const Levels* levels = nullptr;  // the input is uint8, and this normalises it; null: float32
};

class Network {
 public:
  // `levels` only where the file OnlyQuantizes() its input and the CPU has what convert.h wants.
  Network(const PlanFile& file, Weights* weights, const onednn::Cpu& cpu, std::size_t batch,
          const NetworkOptions& options);

  // Whether all that a model does with its input is to quantize it: 256 values of a channel become 256 others.
  static bool OnlyQuantizes(const PlanFile& file);

  // pixels: [batch, 3, H, W], float32 or, with levels, uint8; scores: float32 [batch, classes].
  void Run(const void* pixels, float* scores);

  std::size_t batch() const { return batch_; }

 private:
  struct Step {
    onednn::Primitive primitive;  // or, where there is none:
    std::function<void()> work;
    std::vector<dnnl_exec_arg_t> arguments;
    std::string name;
  };

  void Build();
  void AddInput();
  void AddConvolution(std::size_t index);
  bool AddDepthwise(std::size_t index);  // own_kernels.cc; false where the kernel does not fit
  bool AddWinograd(std::size_t index);
  void AddLinear(std::size_t index);
  void AddPooling(std::size_t index);
  void AddAddition(std::size_t index);
  void AddSoftmax(std::size_t index);
  void AddQuantize(std::size_t index);
  std::function<void()> QuantizeInput(const Operator& op) const;
  void AddDequantize(std::size_t index);
  void AddPrimitive(std::size_t index, onednn::PrimitiveDesc desc, std::vector<dnnl_exec_arg_t> arguments);
  onednn::Attr Attributes(const Operator& op, int weights_mask);
  void AddScales(const Operator& op, std::vector<dnnl_exec_arg_t>* arguments);
  void AddWeights(std::size_t index, const dnnl_primitive_desc* desc, const onednn::Dims& dims,
                  std::vector<dnnl_exec_arg_t>* arguments);
  onednn::Dims Shape(std::uint32_t tensor) const;
  dnnl_data_type_t DataType(std::uint32_t tensor, Type type) const;
  onednn::Desc Describe(std::uint32_t tensor, Type type) const;
  onednn::Desc DescribeFlat(std::uint32_t tensor) const;
  char* Place(std::uint32_t tensor) const;
  dnnl_memory* Keep(onednn::Memory memory);

  const PlanFile& file_;
  Weights& weights_;
  const onednn::Cpu& cpu_;
  std::size_t batch_;
  NetworkOptions options_;
  bool keep_input_ = false;
  MemoryPlan plan_;
  onednn::Buffer arena_, scratchpad_;
  std::size_t scratchpad_bytes_ = 0;  // the most that an operator, oneDNN's or ours, asks for
  std::vector<onednn::Memory> memories_;
  std::vector<std::unique_ptr<Depthwise>> depthwise_;
  std::vector<Step> steps_;
  const void* pixels_ = nullptr;
};
