#include "process_info.h"

#include <dirent.h>
#include <sched.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>

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
