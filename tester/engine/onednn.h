// oneDNN's C interface with owners and exceptions; only what the engine needs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "onednn_api.h"

namespace onednn {

// Throws unless `status` is success; `doing` names the operator.
void Check(dnnl_status_t status, const std::string& doing);

// "3.2.1". Throws if the library is not one that onednn_api.h describes.
std::string Version();

using Dims = std::vector<std::int64_t>;

template <typename T, dnnl_status_t (*Destroy)(T*)>
struct Destroyer {
  void operator()(T* object) const { Destroy(object); }
};
template <typename T, dnnl_status_t (*Destroy)(T*)>
using Owner = std::unique_ptr<T, Destroyer<T, Destroy>>;

using Desc = Owner<dnnl_memory_desc, dnnl_memory_desc_destroy>;
using Memory = Owner<dnnl_memory, dnnl_memory_destroy>;
using PrimitiveDesc = Owner<dnnl_primitive_desc, dnnl_primitive_desc_destroy>;
using Primitive = Owner<dnnl_primitive, dnnl_primitive_destroy>;
using Attr = Owner<dnnl_primitive_attr, dnnl_primitive_attr_destroy>;
using PostOps = Owner<dnnl_post_ops, dnnl_post_ops_destroy>;

Desc AnyLayout(const Dims& dims, dnnl_data_type_t type);
Desc RowMajor(const Dims& dims, dnnl_data_type_t type);
Desc ChannelsLast(const Dims& nchw, dnnl_data_type_t type);  // dims in the order N, C, H, W, whatever the layout
Desc Clone(const dnnl_memory_desc* desc);

// 64-byte aligned bytes.
struct Free {
  void operator()(void* bytes) const;
};
using Buffer = std::unique_ptr<void, Free>;
Buffer Allocate(std::size_t bytes);

// The CPU and an in-order stream of work on it.
class Cpu {
 public:
  Cpu();
  ~Cpu();
  Cpu(const Cpu&) = delete;
  Cpu& operator=(const Cpu&) = delete;

  dnnl_engine* engine() const { return engine_; }
  dnnl_stream* stream() const { return stream_; }
  // A view of `bytes`, which must outlive it.
  Memory View(const dnnl_memory_desc* desc, void* bytes) const;

 private:
  dnnl_engine* engine_ = nullptr;
  dnnl_stream* stream_ = nullptr;
};

}  // namespace onednn
