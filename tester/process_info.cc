#include "process_info.h"

#include <cpuid.h>
#include <dirent.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>

#include "errors.h"

std::int64_t PeakRssBytes() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind("VmHWM:", 0) == 0) return std::strtoll(line.c_str() + 6, nullptr, 10) * 1024;
  }
  return 0;
}

std::vector<int> AllowedCpus() {
  constexpr int kMaxCpus = 8192;  // the largest that Linux can be built for
  std::vector<int> cpus;
  cpu_set_t* set = CPU_ALLOC(kMaxCpus);
  const std::size_t size = CPU_ALLOC_SIZE(kMaxCpus);
  if (set != nullptr && sched_getaffinity(0, size, set) == 0) {
    for (int cpu = 0; cpu < kMaxCpus; ++cpu) {
      if (CPU_ISSET_S(cpu, size, set)) cpus.push_back(cpu);
    }
  }
  CPU_FREE(set);
  return cpus;
}

// As has_bf16 in src/qat8/instructions.py: the most that oneDNN may use can be named in its environment.
static bool OneDnnMayUseBf16() {
  const char* value = std::getenv("ONEDNN_MAX_CPU_ISA");
  if (value == nullptr || *value == '\0') value = std::getenv("DNNL_MAX_CPU_ISA");
  std::string name = value == nullptr ? "" : value;
  std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
  for (const char* lesser : {"sse41", "avx", "avx2", "avx2_vnni", "avx2_vnni_2", "avx512_core", "avx512_core_vnni"}) {
    if (name == lesser) return false;
  }
  return true;
}

// Intel's manual, volume 2A, CPUID: leaf 7, subleaf 1 bit 5 of EAX is AVX512_BF16; subleaf 0 bit 22 of EDX is AMX-BF16.
void CheckBf16() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  const bool amx = __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (d >> 22 & 1) != 0;
  const bool avx512 = __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 && (a >> 5 & 1) != 0;
  if ((amx || avx512) && OneDnnMayUseBf16()) return;
  throw Error(kMachineError, "--bf16: this CPU has no bfloat16 that oneDNN may use", "avx512_bf16 or amx_bf16",
              "run without --bf16");
}

ThreadTimes ReadThreadTimes() {
  static const double ticks_per_second = static_cast<double>(sysconf(_SC_CLK_TCK));
  ThreadTimes times;
  DIR* tasks = opendir("/proc/self/task");
  if (tasks == nullptr) return times;
  while (const dirent* entry = readdir(tasks)) {
    const int id = std::atoi(entry->d_name);
    std::ifstream file("/proc/self/task/" + std::string(entry->d_name) + "/stat");
    std::string stat;
    if (id == 0 || !std::getline(file, stat)) continue;
    // The second field, the name in parentheses, may hold spaces and parentheses itself; fields 14 and 15 are the
    // ticks in user and in kernel mode (proc(5)).
    std::istringstream fields(stat.substr(stat.rfind(')') + 1));
    std::string skipped;
    for (int field = 3; field < 14; ++field) fields >> skipped;
    double user = 0, kernel = 0;
    fields >> user >> kernel;
    times[id] = (user + kernel) / ticks_per_second;
  }
  closedir(tasks);
  return times;
}

int CountBusyThreads(const ThreadTimes& before, const ThreadTimes& after, double seconds) {
  int busy = 0;
  for (const auto& [id, time] : after) {
    const auto earlier = before.find(id);
    if (time - (earlier == before.end() ? 0.0 : earlier->second) >= 0.1 * seconds) ++busy;
  }
  return busy;
}
