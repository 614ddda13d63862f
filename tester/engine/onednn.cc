#include "onednn.h"

#include <cstdlib>
#include <new>

#include "errors.h"

namespace onednn {

namespace {

constexpr int kMajor = 3, kMinor = 2;
constexpr unsigned kInOrder = 1;
constexpr std::size_t kCacheLine = 64;

Dims Strides(const Dims& dims) {
  Dims strides(dims.size(), 1);
  for (std::size_t i = dims.size() - 1; i > 0; --i) strides[i - 1] = strides[i] * dims[i];
  return strides;
}

Desc Strided(const Dims& dims, dnnl_data_type_t type, const Dims& strides) {
  dnnl_memory_desc* desc = nullptr;
  Check(dnnl_memory_desc_create_with_strides(&desc, static_cast<int>(dims.size()), dims.data(), type, strides.data()),
        "describing memory");
  return Desc(desc);
}

}  // namespace

void Check(dnnl_status_t status, const std::string& doing) {
  switch (status) {
    case dnnl_success: return;
    case dnnl_out_of_memory: throw std::bad_alloc();
    case dnnl_unimplemented:
      throw Error(kModelError, doing + ": oneDNN " + Version() + " has no kernel for it on this CPU", "",
                  "run this model with Paddle's tester");
    case dnnl_invalid_arguments: throw Error(kModelError, doing + ": oneDNN refuses its sizes");
    default: throw Error(kQatError, doing + ": oneDNN failed with status " + std::to_string(status));
  }
}

std::string Version() {
  const dnnl_version_t& v = *dnnl_version();
  const std::string text = std::to_string(v.major) + "." + std::to_string(v.minor) + "." + std::to_string(v.patch);
  if (v.major != kMajor || v.minor < kMinor) {
    throw Error(kMachineError, "libdnnl.so is version " + text, "3.2 or later, before 4",
                "install paddlepaddle==2.6.2 and build the tester again");
  }
  return text;
}

Desc AnyLayout(const Dims& dims, dnnl_data_type_t type) {
  dnnl_memory_desc* desc = nullptr;
  Check(dnnl_memory_desc_create_with_tag(&desc, static_cast<int>(dims.size()), dims.data(), type, dnnl_format_tag_any),
        "describing memory");
  return Desc(desc);
}

Desc RowMajor(const Dims& dims, dnnl_data_type_t type) { return Strided(dims, type, Strides(dims)); }

Desc ChannelsLast(const Dims& nchw, dnnl_data_type_t type) {
  const Dims s = Strides({nchw[0], nchw[2], nchw[3], nchw[1]});
  return Strided(nchw, type, {s[0], s[3], s[1], s[2]});
}

Desc Clone(const dnnl_memory_desc* desc) {
  dnnl_memory_desc* copy = nullptr;
  Check(dnnl_memory_desc_clone(&copy, desc), "describing memory");
  return Desc(copy);
}

void Free::operator()(void* bytes) const { std::free(bytes); }

Buffer Allocate(std::size_t bytes) {
  void* memory = std::aligned_alloc(kCacheLine, (bytes + kCacheLine) / kCacheLine * kCacheLine);
  if (memory == nullptr) throw std::bad_alloc();
  return Buffer(memory);
}

Cpu::Cpu() {
  Version();
  Check(dnnl_engine_create(&engine_, dnnl_cpu, 0), "starting oneDNN");
  Check(dnnl_stream_create(&stream_, engine_, kInOrder), "starting oneDNN");
}

Cpu::~Cpu() {
  dnnl_stream_destroy(stream_);
  dnnl_engine_destroy(engine_);
}

Memory Cpu::View(const dnnl_memory_desc* desc, void* bytes) const {
  dnnl_memory* memory = nullptr;
  Check(dnnl_memory_create(&memory, desc, engine_, bytes), "describing memory");
  return Memory(memory);
}

}  // namespace onednn
