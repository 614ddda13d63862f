#include "barrier.h"

#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdio>

#include "errors.h"

namespace {

constexpr std::int64_t kSpinNs = 200'000;
constexpr std::int64_t kFarNs = 600'000'000'000;

std::string ReadLine() {
  std::string line;
  for (char c = 0;;) {
    const ssize_t n = read(STDIN_FILENO, &c, 1);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) throw Error(kStageError, "--barrier: standard input ended before it said when to start");
    if (c == '\n') return line;
    line += c;
  }
}

}  // namespace

std::int64_t MonotonicNow() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

void WaitUntil(std::int64_t monotonic_ns) {
  const std::int64_t wake = monotonic_ns - kSpinNs;
  if (MonotonicNow() < wake) {
    const timespec until{static_cast<time_t>(wake / 1'000'000'000), static_cast<long>(wake % 1'000'000'000)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, nullptr) == EINTR) {
    }
  }
  while (MonotonicNow() < monotonic_ns) {
  }
}

std::int64_t ParseStart(const std::string& line, std::int64_t now) {
  if (line.empty()) return 0;
  std::int64_t start = 0;
  const char* end = line.data() + line.size();
  const auto [stop, error] = std::from_chars(line.data(), end, start);
  if (error != std::errc() || stop != end || start < now || start - now > kFarNs) {
    throw Error(kUsageError, "--barrier: standard input says '" + line + "'",
                "an empty line, or a nanosecond on CLOCK_MONOTONIC within the next 10 minutes");
  }
  return start;
}

void WaitAtBarrier() {
  std::puts("ready");
  if (std::fflush(stdout) != 0) throw Error(kMachineError, "--barrier: cannot write to standard output");
  const std::string line = ReadLine();  // before the time is taken: C++ leaves the order of arguments open
  WaitUntil(ParseStart(line, MonotonicNow()));
}
