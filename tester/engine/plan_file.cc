#include "plan_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <cstring>

#include "crc32.h"
#include "errors.h"

namespace {

constexpr char kMagic[] = "QAT8PLAN";
constexpr std::uint32_t kVersion = 1, kMost = 65536;
constexpr std::size_t kHeaderBytes = 64, kTensorBytes = 16, kOperatorBytes = 128;
constexpr std::uint32_t kMaxSide = 65536, kMaxChannels = 1 << 20;
constexpr std::size_t kMaxElements = std::size_t{1} << 28;  // of one image's tensor: 1 GB of float32
constexpr std::uint64_t kNoArray = UINT64_MAX, kAlignment = 64;

template <typename T>
T Field(const unsigned char* at, std::size_t offset) {
  T value;
  std::memcpy(&value, at + offset, sizeof value);
  return value;
}

const unsigned char* Content(const onednn::Buffer& buffer) { return static_cast<const unsigned char*>(buffer.get()); }

bool IsWindowed(Kind kind) {
  return kind == Kind::kConvolution || kind == Kind::kMaxPooling || kind == Kind::kAveragePooling ||
         kind == Kind::kAveragePoolingWithPadding;
}

bool HasWeights(Kind kind) { return kind == Kind::kConvolution || kind == Kind::kLinear; }

bool Known(Type type) { return type == Type::kFloat32 || type == Type::kUint8 || type == Type::kInt8; }

}  // namespace

PlanFile::PlanFile(const std::string& path) : path_(path) {
  Read();
  ReadHeader();
  ReadTensors();
  written_.assign(tensors_.size(), false);
  written_[0] = true;
  for (std::size_t i = 0; i < operator_count_; ++i) {
    ReadOperator(i);
    CheckFlow(i);
    CheckWindow(i);
    CheckTypes(i);
    CheckNumbers(i);
    written_[operators_[i].destination] = true;
  }
  const Tensor& output = tensors_[operators_.back().destination];
  if (output.type != Type::kFloat32 || output.height != 1 || output.width != 1) {
    Fail("the last operator does not write float32 scores", "a classifier");
  }
}

void PlanFile::Fail(const std::string& fact, const std::string& expected) const {
  throw Error(kModelError, path_ + ": " + fact, expected, "`inv export` writes it again");
}

std::string PlanFile::Name(std::size_t index) const {
  static const char* kNames[] = {"?", "quantize", "dequantize", "convolution", "max pooling", "average pooling",
                                 "linear layer", "addition", "average pooling with padding", "softmax"};
  return "operator " + std::to_string(index) + " (" + kNames[static_cast<std::size_t>(operators_[index].kind)] + ")";
}

void PlanFile::FailAt(std::size_t index, const std::string& fact) const {
  Fail(Name(index) + " " + fact, "a file as src/qat8/export/file.py describes it");
}

void PlanFile::Read() {
  const int file = open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);  // non-blocking: a FIFO must not hang here
  struct stat status {};
  if (file < 0 || fstat(file, &status) != 0 || !S_ISREG(status.st_mode)) {
    const std::string why = file < 0 ? std::strerror(errno) : "not a regular file";
    if (file >= 0) close(file);
    throw Error(kModelError, path_ + ": " + why, "a model's file NAME.qat8", "`inv export` writes one");
  }
  size_ = static_cast<std::size_t>(status.st_size);
  content_ = onednn::Allocate(size_);
  std::size_t done = 0;
  int error = 0;
  while (done < size_ && error == 0) {
    const ssize_t n = read(file, static_cast<char*>(content_.get()) + done, size_ - done);
    if (n > 0) done += static_cast<std::size_t>(n);
    if (n == 0) break;
    if (n < 0 && errno != EINTR) error = errno;
  }
  close(file);
  if (error != 0) Fail(std::string("reading failed: ") + std::strerror(error), "a readable file");
  size_ = done;
}

void PlanFile::ReadHeader() {
  const unsigned char* h = Content(content_);
  if (size_ < kHeaderBytes || std::memcmp(h, kMagic, 8) != 0) Fail("not a model of the engine", "a file NAME.qat8");
  if (Field<std::uint32_t>(h, 60) != Crc32(h, 60)) Fail("the header's CRC-32 is wrong", "an undamaged file");
  const auto version = Field<std::uint32_t>(h, 8), precision = Field<std::uint32_t>(h, 12);
  if (version != kVersion) Fail("version " + std::to_string(version), "version 1");
  if (precision != 1 && precision != 2) Fail("precision " + std::to_string(precision), "1 (fp32) or 2 (int8)");
  int8_ = precision == 2;
  const auto stated = Field<std::uint64_t>(h, 16);
  if (stated != size_) Fail(std::to_string(size_) + " bytes", std::to_string(stated) + ", as its header says");
  const auto tensors = Field<std::uint32_t>(h, 24), operators = Field<std::uint32_t>(h, 28);
  const auto data = Field<std::uint64_t>(h, 32);
  if (tensors - 1 >= kMost || operators - 1 >= kMost) {
    Fail(std::to_string(tensors) + " tensors, " + std::to_string(operators) + " operators", "1 to 65536 of each");
  }
  const std::size_t records = kHeaderBytes + tensors * kTensorBytes + operators * kOperatorBytes;
  if (data < records || data > size_ || data % kAlignment != 0) {
    Fail("the arrays start at byte " + std::to_string(data), "a multiple of 64 from " + std::to_string(records));
  }
  if (Field<std::uint32_t>(h, 40) != Crc32(h + kHeaderBytes, size_ - kHeaderBytes)) {
    Fail("damaged (CRC-32)", "an undamaged file");
  }
  data_offset_ = data;
  operator_count_ = operators;
  tensors_.resize(tensors);
}

void PlanFile::ReadTensors() {
  const unsigned char* at = Content(content_) + kHeaderBytes;
  for (std::size_t i = 0; i < tensors_.size(); ++i, at += kTensorBytes) {
    Tensor& t = tensors_[i];
    t = {Field<Type>(at, 0), Field<std::uint32_t>(at, 4), Field<std::uint32_t>(at, 8), Field<std::uint32_t>(at, 12)};
    const bool sides = t.channels - 1 < kMaxChannels && t.height - 1 < kMaxSide && t.width - 1 < kMaxSide;
    if (!Known(t.type) || !sides || t.elements() > kMaxElements) {
      Fail("tensor " + std::to_string(i) + " has dtype " + std::to_string(static_cast<std::uint32_t>(t.type)) + ", " +
               std::to_string(t.channels) + " x " + std::to_string(t.height) + " x " + std::to_string(t.width),
           "dtype 1 to 3, sides from 1");
    }
  }
  if (input().type != Type::kFloat32 || input().channels != 3) Fail("tensor 0 is no image", "float32, 3 channels");
}

const void* PlanFile::Array(std::size_t index, std::uint64_t offset, std::uint64_t bytes) const {
  const std::uint64_t length = size_ - data_offset_;
  if (offset % kAlignment != 0 || offset > length || bytes > length - offset) {
    FailAt(index, "has an array outside the file");
  }
  return Content(content_) + data_offset_ + offset;
}

void PlanFile::ReadOperator(std::size_t index) {
  const unsigned char* at = Content(content_) + kHeaderBytes + tensors_.size() * kTensorBytes + index * kOperatorBytes;
  const auto kind = Field<std::uint32_t>(at, 0);
  operators_.emplace_back();
  Operator& op = operators_.back();
  if (kind < 1 || kind > 9) FailAt(index, "is of kind " + std::to_string(kind));
  op.kind = static_cast<Kind>(kind);
  op.source = Field<std::uint32_t>(at, 4);
  op.second = Field<std::uint32_t>(at, 8);
  op.destination = Field<std::uint32_t>(at, 12);
  for (std::size_t i = 0; i < 2; ++i) {
    op.kernel[i] = Field<std::uint32_t>(at, 16 + 4 * i);
    op.strides[i] = Field<std::uint32_t>(at, 24 + 4 * i);
    op.padding_front[i] = Field<std::uint32_t>(at, 32 + 4 * i);
    op.padding_back[i] = Field<std::uint32_t>(at, 40 + 4 * i);
    op.dilations[i] = Field<std::uint32_t>(at, 48 + 4 * i);
  }
  op.groups = Field<std::uint32_t>(at, 56);
  op.activation = Field<Activation>(at, 60);
  op.alpha = Field<float>(at, 64);
  op.beta = Field<float>(at, 68);
  op.source_scale = Field<float>(at, 72);
  op.second_scale = Field<float>(at, 76);
  op.destination_scale = Field<float>(at, 80);
  op.writes = Field<Type>(at, 84);
  op.weights_type = Field<Type>(at, 112);
  op.weight_scale_count = Field<std::uint32_t>(at, 116);
  const std::uint32_t most = static_cast<std::uint32_t>(tensors_.size());
  if (op.source >= most || op.destination >= most || (op.second != kNoTensor && op.second >= most)) {
    FailAt(index, "names a tensor that is not there");
  }
  if (op.writes == Type::kNone) op.writes = tensors_[op.destination].type;
  if (!HasWeights(op.kind)) {
    if (op.weights_type != Type::kNone || op.weight_scale_count != 0) FailAt(index, "has weights");
    return;
  }

  const Tensor &from = tensors_[op.source], &to = tensors_[op.destination];
  if (op.groups < 1 || from.channels % op.groups != 0 || to.channels % op.groups != 0) FailAt(index, "has bad groups");
  if (op.kernel[0] - 1 >= kMaxSide || op.kernel[1] - 1 >= kMaxSide) FailAt(index, "has a bad kernel");
  // At most 2^20 x 2^28 x 4: no overflow.
  const std::uint64_t per_output = op.kind == Kind::kLinear
                                       ? from.elements()
                                       : std::uint64_t{from.channels / op.groups} * op.kernel[0] * op.kernel[1];
  if (per_output > kMaxElements) FailAt(index, "has a bad kernel");
  if (op.weights_type != Type::kFloat32 && op.weights_type != Type::kInt8) FailAt(index, "has weights of no type");
  op.weights = Array(index, Field<std::uint64_t>(at, 88), per_output * to.channels * Bytes(op.weights_type));
  const auto bias = Field<std::uint64_t>(at, 96), scales = Field<std::uint64_t>(at, 104);
  if (bias != kNoArray) op.bias = static_cast<const float*>(Array(index, bias, std::uint64_t{to.channels} * 4));
  const bool scaled = op.weights_type == Type::kInt8;
  if (scaled ? op.weight_scale_count != 1 && op.weight_scale_count != to.channels : op.weight_scale_count != 0) {
    FailAt(index, "has " + std::to_string(op.weight_scale_count) + " weight scales");
  }
  if (scaled) {
    op.weight_scales = static_cast<const float*>(Array(index, scales, std::uint64_t{op.weight_scale_count} * 4));
  }
}

// Every tensor is written once, before it is read; what is added has the shape of the sum.
void PlanFile::CheckFlow(std::size_t index) const {
  const Operator& op = operators_[index];
  if (!written_[op.source] || (op.second != kNoTensor && !written_[op.second])) {
    FailAt(index, "reads a tensor before it is written");
  }
  if (written_[op.destination]) FailAt(index, "writes a tensor for the second time");
  const bool may = op.kind == Kind::kConvolution || op.kind == Kind::kAddition;
  if (op.second != kNoTensor ? !may : op.kind == Kind::kAddition) FailAt(index, "has a wrong number of sources");
  if (op.second == kNoTensor) return;
  const Tensor &second = tensors_[op.second], &to = tensors_[op.destination];
  if (second.channels != to.channels || second.height != to.height || second.width != to.width || op.second == 0) {
    FailAt(index, "adds tensors of unlike shape");
  }
}

void PlanFile::CheckWindow(std::size_t index) const {
  const Operator& op = operators_[index];
  const Tensor &from = tensors_[op.source], &to = tensors_[op.destination];
  if (!IsWindowed(op.kind)) {
    const bool linear = op.kind == Kind::kLinear;
    const bool fits = linear ? to.height == 1 && to.width == 1
                             : from.channels == to.channels && from.height == to.height && from.width == to.width;
    if (op.kind == Kind::kSoftmax && (to.height != 1 || to.width != 1)) FailAt(index, "is not over classes");
    if (!fits) FailAt(index, "changes the shape");
    return;
  }
  const std::uint64_t sides[2][2] = {{from.height, to.height}, {from.width, to.width}};
  for (std::size_t i = 0; i < 2; ++i) {
    const std::uint64_t k = op.kernel[i], s = op.strides[i], d = op.dilations[i];
    if (k - 1 >= kMaxSide || s - 1 >= kMaxSide || d - 1 >= kMaxSide) FailAt(index, "has a bad window");
    const std::uint64_t reach = d * (k - 1) + 1;
    if (op.padding_front[i] >= reach || op.padding_back[i] >= reach) FailAt(index, "pads more than its window");
    const std::uint64_t padded = sides[i][0] + op.padding_front[i] + op.padding_back[i];
    if (padded < reach || (padded - reach) / s + 1 != sides[i][1]) FailAt(index, "gives another size than it says");
  }
  if (op.kind != Kind::kConvolution && from.channels != to.channels) FailAt(index, "changes the channels");
}

void PlanFile::CheckTypes(std::size_t index) const {
  const Operator& op = operators_[index];
  const Type from = tensors_[op.source].type, to = tensors_[op.destination].type;
  const Type second = op.second == kNoTensor ? op.writes : tensors_[op.second].type;
  bool fits = Known(op.writes) && Bytes(op.writes) == Bytes(to) && second == op.writes;
  switch (op.kind) {
    case Kind::kQuantize: fits = fits && from == Type::kFloat32 && to != Type::kFloat32; break;
    case Kind::kDequantize: fits = fits && from != Type::kFloat32 && to == Type::kFloat32; break;
    case Kind::kConvolution:
    case Kind::kLinear: fits = fits && (op.weights_type == Type::kInt8) == (from != Type::kFloat32); break;
    case Kind::kSoftmax: fits = fits && from == Type::kFloat32 && to == Type::kFloat32; break;
    default: fits = fits && from == to;
  }
  if (op.weights_type == Type::kFloat32 && to != Type::kFloat32) fits = false;
  if (op.kind != Kind::kConvolution && op.writes != to) fits = false;
  if (!fits) FailAt(index, "has tensors of types that do not go together");
}

void PlanFile::CheckNumbers(std::size_t index) const {
  const Operator& op = operators_[index];
  for (float scale : {op.source_scale, op.second_scale, op.destination_scale}) {
    if (!std::isfinite(scale) || scale <= 0) FailAt(index, "has a scale that is not a positive number");
  }
  for (std::uint32_t i = 0; i < op.weight_scale_count; ++i) {
    if (!std::isfinite(op.weight_scales[i]) || op.weight_scales[i] < 0) FailAt(index, "has a bad weight scale");
  }
  if (op.kind == Kind::kQuantize && !(op.alpha > 0)) FailAt(index, "has a factor that is not a positive number");
  const bool clip = op.activation == Activation::kClip;
  if (op.activation > Activation::kClip || !std::isfinite(op.alpha) || !std::isfinite(op.beta) ||
      (clip && op.alpha > op.beta)) {
    FailAt(index, "has an unknown activation");
  }
  const bool may = HasWeights(op.kind) || op.kind == Kind::kAddition;
  if (op.activation != Activation::kNone && !may) FailAt(index, "has an activation");
}
