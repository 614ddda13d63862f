#include "isa.h"

#include "onednn_api.h"

namespace {

bool OneDnnUses(unsigned isa) {
  static const unsigned effective = dnnl_get_effective_cpu_isa();
  return (effective & isa) == isa;
}

}  // namespace

bool HasAvx512Core() {
  static const bool has = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                          __builtin_cpu_supports("avx512vl") && OneDnnUses(kIsaAvx512Core);
  return has;
}

bool HasAvx512Vbmi() {
  static const bool has = HasAvx512Vnni() && __builtin_cpu_supports("avx512vbmi");
  return has;
}

bool HasAvx512Vnni() {
  static const bool has = HasAvx512Core() && __builtin_cpu_supports("avx512vnni") && OneDnnUses(kIsaAvx512CoreVnni);
  return has;
}
