// The functions of oneDNN's C interface that the engine calls. The wheel of paddlepaddle holds libdnnl.so.3 without its
// headers, and those on package registries come with another build of the library (50 MB) that must not be loaded
// beside it. The interface is stable within major version 3, its enumerations too (oneDNN's "Versioning Policy");
// onednn.cc refuses another major version and anything before 3.2, in which scales became memory arguments.
//
// Names, numbers and orders of arguments: oneDNN developer guide, v3.2, "API".
#pragma once

#include <cstddef>
#include <cstdint>

extern "C" {

constexpr int kDnnlMaxDims = 12;
using dnnl_dims_t = std::int64_t[kDnnlMaxDims];

struct dnnl_engine;
struct dnnl_stream;
struct dnnl_memory;
struct dnnl_memory_desc;
struct dnnl_primitive;
struct dnnl_primitive_desc;
struct dnnl_primitive_attr;
struct dnnl_post_ops;

enum dnnl_status_t { dnnl_success = 0, dnnl_out_of_memory = 1, dnnl_invalid_arguments = 2, dnnl_unimplemented = 3 };
enum dnnl_data_type_t { dnnl_data_type_undef = 0, dnnl_bf16 = 2, dnnl_f32 = 3, dnnl_s32 = 4, dnnl_s8 = 5, dnnl_u8 = 6 };
enum dnnl_format_tag_t { dnnl_format_tag_any = 1 };
enum dnnl_engine_kind_t { dnnl_cpu = 1 };
enum dnnl_prop_kind_t { dnnl_forward_inference = 96 };
enum dnnl_scratchpad_mode_t { dnnl_scratchpad_mode_user = 1 };
enum dnnl_alg_kind_t {
  dnnl_convolution_direct = 1,
  dnnl_eltwise_relu = 32,
  dnnl_eltwise_clip = 46,
  dnnl_pooling_max = 511,
  dnnl_pooling_avg_include_padding = 767,
  dnnl_pooling_avg_exclude_padding = 1023,
  dnnl_softmax_accurate = 196608,
  dnnl_binary_add = 131056,
};
enum dnnl_query_t {
  dnnl_query_src_md = 129,
  dnnl_query_weights_md = 131,
  dnnl_query_dst_md = 133,
  dnnl_query_scratchpad_md = 136,
};

// Sets of instructions, as sets of bits: each of them with those that it builds upon.
using dnnl_cpu_isa_t = unsigned;
constexpr dnnl_cpu_isa_t kIsaAvx512Core = 0x27, kIsaAvx512CoreVnni = 0x67;

constexpr int kArgSrc = 1, kArgSrc1 = 2, kArgDst = 17, kArgWeights = 33, kArgBias = 41, kArgScratchpad = 80;
constexpr int kArgScales = 4096;  // | the argument that is scaled

struct dnnl_exec_arg_t {
  int arg;
  dnnl_memory* memory;
};
struct dnnl_version_t {
  int major, minor, patch;
  const char* hash;
  unsigned cpu_runtime, gpu_runtime;
};

const dnnl_version_t* dnnl_version();
dnnl_cpu_isa_t dnnl_get_effective_cpu_isa();

dnnl_status_t dnnl_engine_create(dnnl_engine**, dnnl_engine_kind_t, std::size_t index);
dnnl_status_t dnnl_engine_destroy(dnnl_engine*);
dnnl_status_t dnnl_stream_create(dnnl_stream**, dnnl_engine*, unsigned flags);
dnnl_status_t dnnl_stream_wait(dnnl_stream*);
dnnl_status_t dnnl_stream_destroy(dnnl_stream*);

dnnl_status_t dnnl_memory_desc_create_with_tag(dnnl_memory_desc**, int ndims, const dnnl_dims_t dims, dnnl_data_type_t,
                                               dnnl_format_tag_t);
dnnl_status_t dnnl_memory_desc_create_with_strides(dnnl_memory_desc**, int ndims, const dnnl_dims_t dims,
                                                   dnnl_data_type_t, const dnnl_dims_t strides);
dnnl_status_t dnnl_memory_desc_clone(dnnl_memory_desc**, const dnnl_memory_desc*);
int dnnl_memory_desc_equal(const dnnl_memory_desc*, const dnnl_memory_desc*);
std::size_t dnnl_memory_desc_get_size(const dnnl_memory_desc*);
dnnl_status_t dnnl_memory_desc_destroy(dnnl_memory_desc*);
dnnl_status_t dnnl_memory_create(dnnl_memory**, const dnnl_memory_desc*, dnnl_engine*, void* handle);
dnnl_status_t dnnl_memory_set_data_handle(dnnl_memory*, void* handle);
dnnl_status_t dnnl_memory_destroy(dnnl_memory*);

dnnl_status_t dnnl_primitive_attr_create(dnnl_primitive_attr**);
dnnl_status_t dnnl_primitive_attr_set_scales_mask(dnnl_primitive_attr*, int arg, int mask);
dnnl_status_t dnnl_primitive_attr_set_scratchpad_mode(dnnl_primitive_attr*, dnnl_scratchpad_mode_t);
dnnl_status_t dnnl_primitive_attr_set_post_ops(dnnl_primitive_attr*, const dnnl_post_ops*);
dnnl_status_t dnnl_primitive_attr_destroy(dnnl_primitive_attr*);
dnnl_status_t dnnl_post_ops_create(dnnl_post_ops**);
dnnl_status_t dnnl_post_ops_append_sum(dnnl_post_ops*, float scale, std::int32_t zero_point, dnnl_data_type_t);
dnnl_status_t dnnl_post_ops_append_eltwise(dnnl_post_ops*, dnnl_alg_kind_t, float alpha, float beta);
dnnl_status_t dnnl_post_ops_destroy(dnnl_post_ops*);

dnnl_status_t dnnl_convolution_forward_primitive_desc_create(
    dnnl_primitive_desc**, dnnl_engine*, dnnl_prop_kind_t, dnnl_alg_kind_t, const dnnl_memory_desc* src,
    const dnnl_memory_desc* weights, const dnnl_memory_desc* bias, const dnnl_memory_desc* dst,
    const dnnl_dims_t strides, const dnnl_dims_t dilates, const dnnl_dims_t padding_l, const dnnl_dims_t padding_r,
    const dnnl_primitive_attr*);
dnnl_status_t dnnl_pooling_forward_primitive_desc_create(
    dnnl_primitive_desc**, dnnl_engine*, dnnl_prop_kind_t, dnnl_alg_kind_t, const dnnl_memory_desc* src,
    const dnnl_memory_desc* dst, const dnnl_dims_t strides, const dnnl_dims_t kernel, const dnnl_dims_t dilation,
    const dnnl_dims_t padding_l, const dnnl_dims_t padding_r, const dnnl_primitive_attr*);
dnnl_status_t dnnl_inner_product_forward_primitive_desc_create(
    dnnl_primitive_desc**, dnnl_engine*, dnnl_prop_kind_t, const dnnl_memory_desc* src,
    const dnnl_memory_desc* weights, const dnnl_memory_desc* bias, const dnnl_memory_desc* dst,
    const dnnl_primitive_attr*);
dnnl_status_t dnnl_softmax_forward_primitive_desc_create(dnnl_primitive_desc**, dnnl_engine*, dnnl_prop_kind_t,
                                                         dnnl_alg_kind_t, const dnnl_memory_desc* src,
                                                         const dnnl_memory_desc* dst, int axis,
                                                         const dnnl_primitive_attr*);
dnnl_status_t dnnl_binary_primitive_desc_create(dnnl_primitive_desc**, dnnl_engine*, dnnl_alg_kind_t,
                                                const dnnl_memory_desc* src0, const dnnl_memory_desc* src1,
                                                const dnnl_memory_desc* dst, const dnnl_primitive_attr*);
dnnl_status_t dnnl_reorder_primitive_desc_create(dnnl_primitive_desc**, const dnnl_memory_desc* src,
                                                 dnnl_engine* src_engine, const dnnl_memory_desc* dst,
                                                 dnnl_engine* dst_engine, const dnnl_primitive_attr*);
const dnnl_memory_desc* dnnl_primitive_desc_query_md(const dnnl_primitive_desc*, dnnl_query_t, int index);
dnnl_status_t dnnl_primitive_desc_destroy(dnnl_primitive_desc*);
dnnl_status_t dnnl_primitive_create(dnnl_primitive**, const dnnl_primitive_desc*);
dnnl_status_t dnnl_primitive_execute(const dnnl_primitive*, dnnl_stream*, int nargs, const dnnl_exec_arg_t*);
dnnl_status_t dnnl_primitive_destroy(dnnl_primitive*);

}  // extern "C"
