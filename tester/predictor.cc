#include "predictor.h"

#include <dirent.h>
#include <paddle_inference_api.h>
#include <sys/stat.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <new>
#include <unordered_set>

#include "errors.h"
#include "paddle_error.h"
#include "process_info.h"
#include "program_check.h"

namespace {

constexpr int kCacheCapacity = 10;  // shapes whose oneDNN primitives are kept: the batch, and the last partial batch

bool EndsWith(const std::string& text, const std::string& end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

bool Exists(const std::string& path) {
  struct stat status {};
  return stat(path.c_str(), &status) == 0;
}

std::vector<std::string> FilesIn(const std::string& dir) {
  std::vector<std::string> names;
  DIR* stream = opendir(dir.c_str());
  if (stream == nullptr) {
    throw Error(kModelError, dir + ": not a directory", "the directory of a model", "give --infer_model=DIR");
  }
  while (const dirent* entry = readdir(stream)) names.emplace_back(entry->d_name);
  closedir(stream);
  return names;
}

// NAME.pdmodel + NAME.pdiparams, or upstream's __model__ with __params__ or with one file per parameter.
void SetModel(const std::string& dir, paddle_infer::Config* config) {
  std::vector<std::string> programs;
  for (const std::string& name : FilesIn(dir)) {
    if (EndsWith(name, ".pdmodel")) programs.push_back(dir + "/" + name);
  }
  const std::string suffix = ".pdmodel", old_program = dir + "/__model__", old_params = dir + "/__params__";
  if (programs.size() > 1) throw Error(kModelError, dir + ": more than one .pdmodel file", "one model");
  if (programs.size() == 1) {
    const std::string params = programs[0].substr(0, programs[0].size() - suffix.size()) + ".pdiparams";
    if (!Exists(params)) throw Error(kModelError, params + ": no such file", "the parameters of " + programs[0]);
    CheckProgramFile(programs[0]);
    config->SetModel(programs[0], params);
  } else if (Exists(old_program)) {
    CheckProgramFile(old_program);
    Exists(old_params) ? config->SetModel(old_program, old_params) : config->SetModel(dir);
  } else {
    throw Error(kModelError, dir + ": no model", "NAME.pdmodel and NAME.pdiparams, or __model__",
                "`inv train` and `inv convert` write models");
  }
}

// Turns what Paddle throws into one line. `doing` says what was tried with the model.
template <typename Action>
void Try(const std::string& doing, Action action) {
  try {
    action();
  } catch (const Error&) {
    throw;
  } catch (const std::bad_alloc&) {
    throw Error(kMachineError, doing + ": out of memory", "", "a smaller --batch_size");
  } catch (const std::exception& e) {
    const std::string brief = BriefPaddleError(e.what());
    throw Error(brief.rfind("ResourceExhausted", 0) == 0 ? kMachineError : kModelError, doing + ": " + brief);
  }
}

// Inference distributions before 2.4 have no GetInputTensorShape; then the input's size goes unchecked.
template <typename P>
auto InputShapes(P& predictor, int) -> decltype(predictor.GetInputTensorShape()) {
  return predictor.GetInputTensorShape();
}
template <typename P>
std::map<std::string, std::vector<std::int64_t>> InputShapes(P&, long) {
  return {};
}

// Nor have those before 2.3 EnableMkldnnInt8.
using Names = std::unordered_set<std::string>;
template <typename C>
auto QuantizeOnline(C& config, const Names& ops, int) -> decltype(config.EnableMkldnnInt8(ops)) {
  config.EnableMkldnnInt8(ops);
}
template <typename C>
void QuantizeOnline(C&, const Names&, long) {
  throw Error(kMachineError, "--int8_online: this Paddle library cannot quantize online", "Paddle 2.3 or later");
}

// Nor have those before 2.0 EnableMkldnnBfloat16.
template <typename C>
auto RunInBf16(C& config, int) -> decltype(config.EnableMkldnnBfloat16()) {
  CheckBf16();
  config.EnableMkldnnBfloat16();
}
template <typename C>
void RunInBf16(C&, long) {
  throw Error(kMachineError, "--bf16: this Paddle library has no bfloat16", "Paddle 2.0 or later");
}

// Nor have those before 2.2 ShareExternalData: there the images are copied. Its enumerations are not named here, because
// those libraries need not have them: the CPU is 0 and NCHW is 2 since there are any.
template <typename T, typename Place, typename Layout>
void Share(T& tensor, void (T::*share)(const float*, const std::vector<int>&, Place, Layout), const float* pixels,
           const std::vector<int>& shape) {
  (tensor.*share)(pixels, shape, static_cast<Place>(0), static_cast<Layout>(2));
}
template <typename T>
auto Feed(T& tensor, const float* pixels, const std::vector<int>& shape, int)
    -> decltype(Share(tensor, &T::template ShareExternalData<float>, pixels, shape)) {
  Share(tensor, &T::template ShareExternalData<float>, pixels, shape);
}
template <typename T>
void Feed(T& tensor, const float* pixels, const std::vector<int>& shape, long) {
  tensor.Reshape(shape);
  tensor.CopyFromCpu(pixels);
}

std::string Join(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

}  // namespace

const char kTesterName[] = "cpp";

std::string CheckLibraryVersion() {
  const std::string text = paddle_infer::GetVersion();  // "version: 2.6.2\ncommit: ...\nbranch: ...\n"
  const std::string key = "version: ";
  const std::size_t start = text.rfind(key, 0) == 0 ? key.size() : 0;
  const std::string version = text.substr(start, text.find('\n') - start);
#ifdef WHEEL_ABI_VERSION
  if (version != WHEEL_ABI_VERSION) {
    throw Error(kMachineError, "libpaddle.so is version " + version,
                WHEEL_ABI_VERSION " (this program was built against that wheel and no other)",
                "pip install paddlepaddle==" WHEEL_ABI_VERSION ", or build again with -DPADDLE_ROOT=...");
  }
#endif
  return version;
}

struct Predictor::Handles {
  std::shared_ptr<paddle_infer::Predictor> predictor;
  std::vector<std::string> inputs, outputs;
  std::unique_ptr<paddle_infer::Tensor> image, label;
  std::vector<std::unique_ptr<paddle_infer::Tensor>> results;
};

Predictor::Predictor(const Flags& flags, int height, int width, const Levels*)
    : model_(flags.infer_model),
      accuracy_layer_(flags.with_accuracy_layer),
      height_(height),
      width_(width),
      handles_(new Handles) {
  CheckLibraryVersion();
  if (flags.micro_batch != 0) throw Error(kUsageError, "--micro_batch is of engine_tester alone");
  if (!flags.own_kernels) throw Error(kUsageError, "--own_kernels is of engine_tester alone");
  Try(model_ + ": cannot load the model", [&] { Load(flags); });
}

Predictor::~Predictor() = default;

void Predictor::Load(const Flags& flags) {
  paddle_infer::Config config;
  SetModel(flags.infer_model, &config);
  config.DisableGpu();
  config.SwitchIrOptim();
  config.EnableMKLDNN();
  config.SetMkldnnCacheCapacity(kCacheCapacity);
  config.EnableMemoryOptim();
  config.SetCpuMathLibraryNumThreads(flags.num_threads);
  config.DisableGlogInfo();
  // The oneDNN passes rename conv2d to fused_conv2d; without that name no convolution would be quantized.
  if (flags.int8_online) QuantizeOnline(config, {"conv2d", "depthwise_conv2d", "fused_conv2d", "pool2d"}, 0);
  if (flags.bf16) RunInBf16(config, 0);
  if (flags.use_profile) config.EnableProfile();

  Handles& h = *handles_;
  h.predictor = paddle_infer::CreatePredictor(config);
  if (!h.predictor) throw Error(kModelError, model_ + ": Paddle made no predictor of it");
  h.inputs = h.predictor->GetInputNames();
  h.outputs = h.predictor->GetOutputNames();
  CheckInputs();
  h.image = h.predictor->GetInputHandle(h.inputs[0]);
  if (accuracy_layer_) h.label = h.predictor->GetInputHandle(h.inputs[1]);
  for (const std::string& name : h.outputs) h.results.push_back(h.predictor->GetOutputHandle(name));
}

void Predictor::CheckInputs() const {
  const Handles& h = *handles_;
  const std::size_t inputs = accuracy_layer_ ? 2 : 1, outputs = accuracy_layer_ ? 3 : 1;
  if (h.inputs.size() != inputs || h.outputs.size() < outputs) {
    const bool other_way = !accuracy_layer_ && h.inputs.size() == 2 && h.outputs.size() >= 3;
    throw Error(kModelError,
                model_ + ": the model takes " + std::to_string(h.inputs.size()) + " inputs (" + Join(h.inputs) +
                    ") and gives " + std::to_string(h.outputs.size()) + " outputs",
                accuracy_layer_ ? "image and label, and outputs 1 and 2 to be top-1 and top-5, as "
                                  "--with_accuracy_layer=true says"
                                : "one input, the image, as --with_accuracy_layer=false says",
                other_way ? "--with_accuracy_layer=true" : accuracy_layer_ ? "--with_accuracy_layer=false" : "");
  }
  const auto shapes = InputShapes(*h.predictor, 0);
  const auto image = shapes.find(h.inputs[0]);
  if (image == shapes.end()) return;
  const std::vector<std::int64_t>& shape = image->second;
  const std::int64_t ours[] = {-1, 3, height_, width_};
  bool fits = shape.size() == 4;
  for (std::size_t i = 1; fits && i < 4; ++i) fits = shape[i] < 0 || shape[i] == ours[i];
  if (fits) return;
  std::string theirs;
  for (std::size_t i = 1; i < shape.size(); ++i) theirs += (i > 1 ? " x " : "") + std::to_string(shape[i]);
  throw Error(kDataError,
              "the data file's images are 3 x " + std::to_string(height_) + " x " + std::to_string(width_),
              theirs + " for input '" + h.inputs[0] + "' of " + model_, "preprocess the images for this model");
}

void Predictor::CheckOutputShape(int images, const std::vector<int>& shape) const {
  if (shape.size() == 2 && shape[0] == images && shape[1] > 0) return;
  std::string text;
  for (int side : shape) text += (text.empty() ? "" : ", ") + std::to_string(side);
  throw Error(kModelError, model_ + ": output '" + handles_->outputs[0] + "' has shape [" + text + "]",
              "[" + std::to_string(images) + ", classes], a classifier");
}

double Predictor::ReadAccuracy(int index, const char* name) {
  const auto& result = handles_->results[static_cast<std::size_t>(index)];
  const std::vector<int> shape = result->shape();
  if (std::any_of(shape.begin(), shape.end(), [](int side) { return side != 1; })) {
    throw Error(kModelError, model_ + ": output " + std::to_string(index) + " is not one number", name);
  }
  float value = 0;
  result->CopyToCpu(&value);
  if (!(value >= 0 && value <= 1)) {
    throw Error(kVerificationError, model_ + ": output " + std::to_string(index) + " is " + std::to_string(value),
                std::string(name) + " accuracy between 0 and 1");
  }
  return value;
}

bool Predictor::takes_bytes() const { return false; }

void Predictor::Run(int images, const void* pixels, const std::int64_t* labels, Output* output) {
  Handles& h = *handles_;
  Try(model_ + ": cannot run the model", [&] {
    Feed(*h.image, static_cast<const float*>(pixels), {images, 3, height_, width_}, 0);
    if (accuracy_layer_) {
      h.label->Reshape({images, 1});
      h.label->CopyFromCpu(labels);
    }
    if (!h.predictor->Run()) throw Error(kModelError, model_ + ": Run() failed", "a model that this library can run");
    if (accuracy_layer_) {
      output->top1 = ReadAccuracy(1, "top-1");
      output->top5 = ReadAccuracy(2, "top-5");
      return;
    }
    const std::vector<int> shape = h.results[0]->shape();
    CheckOutputShape(images, shape);
    output->classes = shape[1];
    output->scores.resize(static_cast<std::size_t>(images) * static_cast<std::size_t>(shape[1]));
    h.results[0]->CopyToCpu(output->scores.data());
  });
}
