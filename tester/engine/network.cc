#include "network.h"

#include <algorithm>
#include <cstring>

#include "convert.h"
#include "isa.h"
#include "threads.h"

namespace {

using onednn::Check;
using onednn::Dims;

dnnl_data_type_t AsWritten(Type type) {
  return type == Type::kFloat32 ? dnnl_f32 : type == Type::kUint8 ? dnnl_u8 : dnnl_s8;
}

Dims Pair(const std::uint32_t (&values)[2]) { return {values[0], values[1]}; }

// oneDNN counts the zeros between the taps, the file their distance.
Dims Gaps(const std::uint32_t (&values)[2]) { return {values[0] - std::int64_t{1}, values[1] - std::int64_t{1}}; }

// Weights of [O, I / groups, kh, kw], with the groups as a dimension of their own where there are several.
Dims FilterShape(const Operator& op, std::int64_t inputs, std::int64_t outputs) {
  const std::int64_t groups = op.groups;
  Dims dims{outputs, inputs / groups, op.kernel[0], op.kernel[1]};
  if (groups == 1) return dims;
  dims[0] /= groups;
  dims.insert(dims.begin(), groups);
  return dims;
}

void AppendActivation(const Operator& op, float scale, dnnl_post_ops* post_ops) {
  if (op.activation == Activation::kNone) return;
  const bool clip = op.activation == Activation::kClip;
  Check(dnnl_post_ops_append_eltwise(post_ops, clip ? dnnl_eltwise_clip : dnnl_eltwise_relu,
                                     clip ? op.alpha * scale : op.alpha, clip ? op.beta * scale : 0),
        "setting an activation");
}

onednn::Attr NewAttributes() {
  dnnl_primitive_attr* attr = nullptr;
  Check(dnnl_primitive_attr_create(&attr), "setting attributes");
  onednn::Attr owner(attr);
  Check(dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user), "setting attributes");
  return owner;
}

// oneDNN 3.2.1's INT8 kernels for CPUs without AVX-512 VNNI gather every second pixel for a pointwise convolution, 16
// channels at a time, and write past the end of a thread's gathered pixels into the next thread's where that does not go
// into the channels (seen with 8, 24, 40 and 72 of them; AVX-512 without VNNI gathers 64). One thread has no neighbour.
bool WritesIntoNeighbours(const Operator& op, std::int64_t channels) {
  const bool strided = op.strides[0] > 1 || op.strides[1] > 1;
  return !HasAvx512Vnni() && op.weights_type == Type::kInt8 && op.kernel[0] == 1 && op.kernel[1] == 1 && strided &&
         channels % 64 != 0;
}

// A primitive takes as many threads as there were when it was described.
class ThreadLimit {
 public:
  explicit ThreadLimit(int threads) : before_(omp_get_max_threads()) { omp_set_num_threads(threads); }
  ~ThreadLimit() { omp_set_num_threads(before_); }
  ThreadLimit(const ThreadLimit&) = delete;
  ThreadLimit& operator=(const ThreadLimit&) = delete;

 private:
  int before_;
};

onednn::PostOps NewPostOps() {
  dnnl_post_ops* post_ops = nullptr;
  Check(dnnl_post_ops_create(&post_ops), "setting attributes");
  return onednn::PostOps(post_ops);
}

}  // namespace

dnnl_memory* Weights::Get(std::size_t index, const dnnl_memory_desc* plain, const dnnl_memory_desc* wanted) {
  const auto [first, last] = packed_.equal_range(index);
  for (auto known = first; known != last; ++known) {
    if (dnnl_memory_desc_equal(known->second.desc.get(), wanted)) return known->second.memory.get();
  }
  const std::string name = file_.Name(index);
  Packed packed{onednn::Clone(wanted), onednn::Allocate(dnnl_memory_desc_get_size(wanted)), nullptr};
  packed.memory = cpu_.View(wanted, packed.bytes.get());
  const onednn::Memory source = cpu_.View(plain, const_cast<void*>(file_.operators()[index].weights));
  dnnl_primitive_desc* desc = nullptr;
  Check(dnnl_reorder_primitive_desc_create(&desc, plain, cpu_.engine(), wanted, cpu_.engine(), nullptr), name);
  const onednn::PrimitiveDesc desc_owner(desc);
  dnnl_primitive* reorder = nullptr;
  Check(dnnl_primitive_create(&reorder, desc), name);
  const onednn::Primitive owner(reorder);
  const dnnl_exec_arg_t arguments[] = {{kArgSrc, source.get()}, {kArgDst, packed.memory.get()}};
  Check(dnnl_primitive_execute(reorder, cpu_.stream(), 2, arguments), name);
  Check(dnnl_stream_wait(cpu_.stream()), name);
  return packed_.emplace(index, std::move(packed))->second.memory.get();
}

dnnl_memory* Weights::Values(const float* values, std::size_t count) {
  onednn::Memory& memory = values_[values];
  if (!memory) {
    memory = cpu_.View(onednn::RowMajor({static_cast<std::int64_t>(count)}, dnnl_f32).get(), const_cast<float*>(values));
  }
  return memory.get();
}

dnnl_memory* Weights::Value(float value) {
  auto& [number, memory] = single_[value];
  if (!memory) {
    number = std::make_unique<float>(value);
    memory = cpu_.View(onednn::RowMajor({1}, dnnl_f32).get(), number.get());
  }
  return memory.get();
}

Network::Network(const PlanFile& file, Weights* weights, const onednn::Cpu& cpu, std::size_t batch,
                 const NetworkOptions& options)
    : file_(file), weights_(*weights), cpu_(cpu), batch_(batch), options_(options) {
  // What quantizes the input reads the user's pixels; anything else needs them channels last.
  keep_input_ = !OnlyQuantizes(file);
  plan_ = PlanMemory(file, batch, keep_input_);
  arena_ = onednn::Allocate(plan_.bytes);
  Build();
}

bool Network::OnlyQuantizes(const PlanFile& file) {
  return std::none_of(file.operators().begin(), file.operators().end(),
                      [](const Operator& op) { return op.source == 0 && op.kind != Kind::kQuantize; });
}

void Network::Build() {
  if (keep_input_) AddInput();
  for (std::size_t i = 0; i < file_.operators().size(); ++i) {
    switch (file_.operators()[i].kind) {
      case Kind::kQuantize: AddQuantize(i); break;
      case Kind::kDequantize: AddDequantize(i); break;
      case Kind::kConvolution: AddConvolution(i); break;
      case Kind::kLinear: AddLinear(i); break;
      case Kind::kAddition: AddAddition(i); break;
      case Kind::kSoftmax: AddSoftmax(i); break;
      default: AddPooling(i);
    }
  }
  // One scratchpad for all: they run one after the other. It is only now known how large it must be.
  scratchpad_ = onednn::Allocate(scratchpad_bytes_);
  for (Step& step : steps_) {
    for (dnnl_exec_arg_t& argument : step.arguments) {
      if (argument.arg == kArgScratchpad) {
        Check(dnnl_memory_set_data_handle(argument.memory, scratchpad_.get()), step.name);
      }
    }
  }
}

void Network::Run(const void* pixels, float* scores) {
  pixels_ = pixels;
  for (const Step& step : steps_) {
    if (step.work) {
      step.work();
    } else {
      Check(dnnl_primitive_execute(step.primitive.get(), cpu_.stream(), static_cast<int>(step.arguments.size()),
                                   step.arguments.data()),
            step.name);
    }
  }
  Check(dnnl_stream_wait(cpu_.stream()), "running the model");
  const std::uint32_t last = file_.operators().back().destination;
  std::memcpy(scores, Place(last), file_.tensors()[last].bytes() * batch_);
}

Dims Network::Shape(std::uint32_t tensor) const {
  const Tensor& t = file_.tensors()[tensor];
  return {static_cast<std::int64_t>(batch_), t.channels, t.height, t.width};
}

// The scores stay float32, which their reader expects. A tensor's place is laid out for float32, so there is room.
dnnl_data_type_t Network::DataType(std::uint32_t tensor, Type type) const {
  const bool narrow = options_.bf16 && type == Type::kFloat32 && tensor != file_.operators().back().destination;
  return narrow ? dnnl_bf16 : AsWritten(type);
}

onednn::Desc Network::Describe(std::uint32_t tensor, Type type) const {
  return onednn::ChannelsLast(Shape(tensor), DataType(tensor, type));
}

onednn::Desc Network::DescribeFlat(std::uint32_t tensor) const {
  const Tensor& t = file_.tensors()[tensor];
  return onednn::RowMajor({static_cast<std::int64_t>(batch_), t.channels}, DataType(tensor, t.type));
}

char* Network::Place(std::uint32_t tensor) const {
  return static_cast<char*>(arena_.get()) + plan_.offsets[tensor];
}

dnnl_memory* Network::Keep(onednn::Memory memory) {
  memories_.push_back(std::move(memory));
  return memories_.back().get();
}

void Network::AddInput() {
  const onednn::Desc from = onednn::RowMajor(Shape(0), dnnl_f32), to = Describe(0, Type::kFloat32);
  dnnl_primitive_desc* desc = nullptr;
  const onednn::Attr attr = NewAttributes();
  Check(dnnl_reorder_primitive_desc_create(&desc, from.get(), cpu_.engine(), to.get(), cpu_.engine(), attr.get()),
        "reading the input");
  dnnl_memory* const source = Keep(cpu_.View(from.get(), nullptr));
  Step take;
  take.name = "reading the input";
  take.work = [this, source] { dnnl_memory_set_data_handle(source, const_cast<void*>(pixels_)); };
  steps_.push_back(std::move(take));
  AddPrimitive(0, onednn::PrimitiveDesc(desc), {{kArgSrc, source}, {kArgDst, Keep(cpu_.View(to.get(), Place(0)))}});
}

void Network::AddQuantize(std::size_t index) {
  const Operator& op = file_.operators()[index];
  const std::size_t elements = file_.tensors()[op.source].elements();
  Step step;
  step.name = file_.Name(index);
  if (op.source == 0) {
    step.work = QuantizeInput(op);
  } else {
    const auto* source = reinterpret_cast<const float*>(Place(op.source));
    step.work = [this, &op, elements, source, to = Place(op.destination)] {
      Quantize(source, elements * batch_, op.alpha, op.writes, to);
    };
  }
  steps_.push_back(std::move(step));
}

// From the user's pixels, in one pass. Of uint8 normalisation and quantization together are a table: the same values,
// from a quarter of the memory.
std::function<void()> Network::QuantizeInput(const Operator& op) const {
  const Tensor& from = file_.tensors()[op.source];
  const std::size_t pixels = std::size_t{from.height} * from.width, elements = from.elements();
  auto* const to = reinterpret_cast<std::uint8_t*>(Place(op.destination));
  if (options_.levels == nullptr) {
    return [this, &op, pixels, elements, to] {
      const auto* images = static_cast<const float*>(pixels_);
      for (std::size_t i = 0; i < batch_; ++i) {
        QuantizeImage(images + i * elements, pixels, op.alpha, op.writes, to + i * elements);
      }
    };
  }
  return [this, table = QuantizedLevels(*options_.levels, op.alpha, op.writes), pixels, elements, to] {
    const auto* images = static_cast<const std::uint8_t*>(pixels_);
    for (std::size_t i = 0; i < batch_; ++i) LookUpImage(images + i * elements, pixels, table, to + i * elements);
  };
}

void Network::AddDequantize(std::size_t index) {
  const Operator& op = file_.operators()[index];
  const Tensor& from = file_.tensors()[op.source];
  const std::size_t count = from.elements() * batch_;
  const char* const source = Place(op.source);
  auto* const to = reinterpret_cast<float*>(Place(op.destination));
  Step step;
  step.name = file_.Name(index);
  step.work = [&op, &from, count, source, to] { Dequantize(source, count, op.source_scale, from.type, to); };
  steps_.push_back(std::move(step));
}

onednn::Attr Network::Attributes(const Operator& op, int weights_mask) {
  onednn::Attr attr = NewAttributes();
  if (op.weights_type == Type::kInt8) {
    const int mask = op.weight_scale_count == 1 ? 0 : weights_mask;
    Check(dnnl_primitive_attr_set_scales_mask(attr.get(), kArgSrc, 0), "setting scales");
    Check(dnnl_primitive_attr_set_scales_mask(attr.get(), kArgWeights, mask), "setting scales");
    if (op.writes != Type::kFloat32) {
      Check(dnnl_primitive_attr_set_scales_mask(attr.get(), kArgDst, 0), "setting scales");
    }
  }
  const onednn::PostOps post_ops = NewPostOps();
  if (op.second != kNoTensor) {
    Check(dnnl_post_ops_append_sum(post_ops.get(), op.second_scale, 0, dnnl_data_type_undef), "setting a sum");
  }
  AppendActivation(op, 1.0f, post_ops.get());
  Check(dnnl_primitive_attr_set_post_ops(attr.get(), post_ops.get()), "setting attributes");
  return attr;
}

void Network::AddScales(const Operator& op, std::vector<dnnl_exec_arg_t>* arguments) {
  if (op.weights_type != Type::kInt8) return;
  arguments->push_back({kArgScales | kArgSrc, weights_.Value(op.source_scale)});
  arguments->push_back({kArgScales | kArgWeights, weights_.Values(op.weight_scales, op.weight_scale_count)});
  if (op.writes != Type::kFloat32) arguments->push_back({kArgScales | kArgDst, weights_.Value(op.destination_scale)});
}

void Network::AddWeights(std::size_t index, const dnnl_primitive_desc* desc, const Dims& dims,
                         std::vector<dnnl_exec_arg_t>* arguments) {
  const Operator& op = file_.operators()[index];
  const onednn::Desc plain = onednn::RowMajor(dims, AsWritten(op.weights_type));
  const dnnl_memory_desc* wanted = dnnl_primitive_desc_query_md(desc, dnnl_query_weights_md, 0);
  arguments->push_back({kArgWeights, weights_.Get(index, plain.get(), wanted)});
  if (op.bias != nullptr) {
    arguments->push_back({kArgBias, weights_.Values(op.bias, file_.tensors()[op.destination].channels)});
  }
  AddScales(op, arguments);
}

void Network::AddConvolution(std::size_t index) {
  if (options_.own_kernels && (AddDepthwise(index) || AddWinograd(index))) return;
  const Operator& op = file_.operators()[index];
  const std::int64_t inputs = file_.tensors()[op.source].channels, outputs = file_.tensors()[op.destination].channels;
  const Dims filter = FilterShape(op, inputs, outputs);
  const onednn::Desc source = Describe(op.source, file_.tensors()[op.source].type);
  const onednn::Desc weights = onednn::AnyLayout(filter, options_.bf16 ? dnnl_bf16 : AsWritten(op.weights_type));
  const onednn::Desc bias = onednn::RowMajor({outputs}, dnnl_f32);
  const onednn::Desc destination = Describe(op.destination, op.writes);
  const onednn::Attr attr = Attributes(op, op.groups > 1 ? 3 : 1);
  const Dims strides = Pair(op.strides), gaps = Gaps(op.dilations);
  const Dims front = Pair(op.padding_front), back = Pair(op.padding_back);
  const ThreadLimit limit(WritesIntoNeighbours(op, inputs) ? 1 : omp_get_max_threads());
  dnnl_primitive_desc* desc = nullptr;
  Check(dnnl_convolution_forward_primitive_desc_create(
            &desc, cpu_.engine(), dnnl_forward_inference, dnnl_convolution_direct, source.get(), weights.get(),
            op.bias == nullptr ? nullptr : bias.get(), destination.get(), strides.data(), gaps.data(), front.data(),
            back.data(), attr.get()),
        file_.Name(index));
  onednn::PrimitiveDesc owner(desc);
  if (op.second != kNoTensor && !plan_.in_place[index]) {
    const char* const from = Place(op.second);
    char* const to = Place(op.destination);
    const std::size_t bytes = dnnl_memory_desc_get_size(destination.get());
    Step copy;
    copy.name = file_.Name(index);
    copy.work = [from, to, bytes] { std::memcpy(to, from, bytes); };
    steps_.push_back(std::move(copy));
  }
  std::vector<dnnl_exec_arg_t> arguments{{kArgSrc, Keep(cpu_.View(source.get(), Place(op.source)))},
                                         {kArgDst, Keep(cpu_.View(destination.get(), Place(op.destination)))}};
  AddWeights(index, desc, filter, &arguments);
  AddPrimitive(index, std::move(owner), std::move(arguments));
}

void Network::AddLinear(std::size_t index) {
  const Operator& op = file_.operators()[index];
  const Tensor& from = file_.tensors()[op.source];
  const std::int64_t outputs = file_.tensors()[op.destination].channels;
  const bool flat = from.height == 1 && from.width == 1;
  Dims dims{outputs, from.channels};
  if (!flat) dims.insert(dims.end(), {from.height, from.width});
  const onednn::Desc source = flat ? DescribeFlat(op.source) : Describe(op.source, from.type);
  const onednn::Desc weights = onednn::AnyLayout(dims, options_.bf16 ? dnnl_bf16 : AsWritten(op.weights_type));
  const onednn::Desc bias = onednn::RowMajor({outputs}, dnnl_f32), destination = DescribeFlat(op.destination);
  const onednn::Attr attr = Attributes(op, 1);
  dnnl_primitive_desc* desc = nullptr;
  Check(dnnl_inner_product_forward_primitive_desc_create(&desc, cpu_.engine(), dnnl_forward_inference, source.get(),
                                                         weights.get(), op.bias == nullptr ? nullptr : bias.get(),
                                                         destination.get(), attr.get()),
        file_.Name(index));
  onednn::PrimitiveDesc owner(desc);
  std::vector<dnnl_exec_arg_t> arguments{{kArgSrc, Keep(cpu_.View(source.get(), Place(op.source)))},
                                         {kArgDst, Keep(cpu_.View(destination.get(), Place(op.destination)))}};
  AddWeights(index, desc, dims, &arguments);
  AddPrimitive(index, std::move(owner), std::move(arguments));
}

void Network::AddPooling(std::size_t index) {
  const Operator& op = file_.operators()[index];
  const dnnl_alg_kind_t algorithm = op.kind == Kind::kMaxPooling         ? dnnl_pooling_max
                                    : op.kind == Kind::kAveragePooling ? dnnl_pooling_avg_exclude_padding
                                                                       : dnnl_pooling_avg_include_padding;
  const onednn::Desc source = Describe(op.source, op.writes), destination = Describe(op.destination, op.writes);
  const Dims strides = Pair(op.strides), kernel = Pair(op.kernel), gaps = Gaps(op.dilations);
  const Dims front = Pair(op.padding_front), back = Pair(op.padding_back);
  const onednn::Attr attr = NewAttributes();
  dnnl_primitive_desc* desc = nullptr;
  Check(dnnl_pooling_forward_primitive_desc_create(&desc, cpu_.engine(), dnnl_forward_inference, algorithm,
                                                   source.get(), destination.get(), strides.data(), kernel.data(),
                                                   gaps.data(), front.data(), back.data(), attr.get()),
        file_.Name(index));
  AddPrimitive(index, onednn::PrimitiveDesc(desc),
               {{kArgSrc, Keep(cpu_.View(source.get(), Place(op.source)))},
                {kArgDst, Keep(cpu_.View(destination.get(), Place(op.destination)))}});
}

// oneDNN scales the summands, not the sum, and an activation comes behind that: so all is in steps of the destination.
void Network::AddAddition(std::size_t index) {
  const Operator& op = file_.operators()[index];
  const bool scaled = op.writes != Type::kFloat32;
  const onednn::Desc first = Describe(op.source, op.writes), second = Describe(op.second, op.writes);
  const onednn::Desc destination = Describe(op.destination, op.writes);
  const onednn::Attr attr = NewAttributes();
  const onednn::PostOps post_ops = NewPostOps();
  AppendActivation(op, 1 / op.destination_scale, post_ops.get());
  Check(dnnl_primitive_attr_set_post_ops(attr.get(), post_ops.get()), "setting attributes");
  std::vector<dnnl_exec_arg_t> arguments{{kArgSrc, Keep(cpu_.View(first.get(), Place(op.source)))},
                                         {kArgSrc1, Keep(cpu_.View(second.get(), Place(op.second)))},
                                         {kArgDst, Keep(cpu_.View(destination.get(), Place(op.destination)))}};
  if (scaled) {
    Check(dnnl_primitive_attr_set_scales_mask(attr.get(), kArgSrc, 0), "setting scales");
    Check(dnnl_primitive_attr_set_scales_mask(attr.get(), kArgSrc1, 0), "setting scales");
    arguments.push_back({kArgScales | kArgSrc, weights_.Value(op.source_scale / op.destination_scale)});
    arguments.push_back({kArgScales | kArgSrc1, weights_.Value(op.second_scale / op.destination_scale)});
  }
  dnnl_primitive_desc* desc = nullptr;
  Check(dnnl_binary_primitive_desc_create(&desc, cpu_.engine(), dnnl_binary_add, first.get(), second.get(),
                                          destination.get(), attr.get()),
        file_.Name(index));
  AddPrimitive(index, onednn::PrimitiveDesc(desc), std::move(arguments));
}

void Network::AddSoftmax(std::size_t index) {
  const Operator& op = file_.operators()[index];
  const onednn::Desc source = DescribeFlat(op.source), destination = DescribeFlat(op.destination);
  const onednn::Attr attr = NewAttributes();
  dnnl_primitive_desc* desc = nullptr;
  Check(dnnl_softmax_forward_primitive_desc_create(&desc, cpu_.engine(), dnnl_forward_inference, dnnl_softmax_accurate,
                                                   source.get(), destination.get(), 1, attr.get()),
        file_.Name(index));
  AddPrimitive(index, onednn::PrimitiveDesc(desc),
               {{kArgSrc, Keep(cpu_.View(source.get(), Place(op.source)))},
                {kArgDst, Keep(cpu_.View(destination.get(), Place(op.destination)))}});
}

void Network::AddPrimitive(std::size_t index, onednn::PrimitiveDesc desc, std::vector<dnnl_exec_arg_t> arguments) {
  Step step;
  step.name = file_.Name(index);
  dnnl_primitive* primitive = nullptr;
  Check(dnnl_primitive_create(&primitive, desc.get()), step.name);
  step.primitive.reset(primitive);
  const dnnl_memory_desc* scratchpad = dnnl_primitive_desc_query_md(desc.get(), dnnl_query_scratchpad_md, 0);
  if (const std::size_t bytes = dnnl_memory_desc_get_size(scratchpad); bytes > 0) {
    scratchpad_bytes_ = std::max(scratchpad_bytes_, bytes);
    arguments.push_back({kArgScratchpad, Keep(cpu_.View(scratchpad, nullptr))});
  }
  step.arguments = std::move(arguments);
  steps_.push_back(std::move(step));
}
