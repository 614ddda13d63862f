// The engine as a whole: what the reader of models lets through is built and run by oneDNN, on two images.
#include <algorithm>
#include <vector>

#include "engine/executor.h"
#include "plan_file.h"

namespace {

constexpr double kMostWork = 2e6;  // multiplications and numbers of all operators: a model may be larger, but not here

double Work(const PlanFile& file) {
  double work = 0;
  for (const Tensor& tensor : file.tensors()) work += static_cast<double>(tensor.elements());
  for (const Operator& op : file.operators()) {
    const Tensor &from = file.tensors()[op.source], &to = file.tensors()[op.destination];
    const double window = static_cast<double>(op.kernel[0]) * op.kernel[1];
    work += static_cast<double>(to.elements()) * window * (op.kind == Kind::kConvolution ? from.channels / op.groups : 1);
    if (op.kind == Kind::kLinear) work += static_cast<double>(from.elements()) * to.channels;
  }
  return work;
}

}  // namespace

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t most, unsigned seed) {
  return MutatePlan(data, size, most, seed);
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static MemoryFile memory;
  Expect(kModelError, [&] {
    const std::string& path = memory.Holding(data, size);
    if (Work(PlanFile(path)) > kMostWork) return;
    for (bool own_kernels : {true, false}) {
      Executor engine(path, 2, 2, {own_kernels});
      const std::vector<float> pixels(2 * engine.file().input().elements(), 0.5f);
      std::vector<float> scores(2 * engine.file().classes());
      engine.Run(2, pixels.data(), scores.data());
    }
  });
  return 0;
}
