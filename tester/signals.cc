#include "signals.h"

#include <signal.h>
#include <unistd.h>

#include <cstring>

#include "errors.h"

namespace {

// The handler may only call async-signal-safe functions: no std::string, no stdio.
char g_remove[4096];
volatile sig_atomic_t g_remove_set = 0;

[[noreturn]] void Leave(const char* line, int code) {
  if (g_remove_set) unlink(g_remove);
  const ssize_t ignored = write(STDERR_FILENO, line, std::strlen(line));
  static_cast<void>(ignored);
  _exit(code);
}

void OnSignal(int signal) {
  switch (signal) {
    case SIGINT: Leave("error: interrupted; run the same command again\n", kInterrupted);
    case SIGTERM: Leave("error: terminated; run the same command again\n", kTerminated);
    case SIGHUP: Leave("error: the terminal is gone; run the same command again\n", kHungUp);
    case SIGILL: Leave("error: Paddle used an instruction that this CPU does not have\n", kMachineError);
    default: Leave("error: Paddle crashed over this model; next: check that its files are undamaged\n", kModelError);
  }
}

}  // namespace

void InstallSignalHandlers() {
  struct sigaction action {};
  action.sa_handler = OnSignal;
  sigemptyset(&action.sa_mask);
  for (int signal : {SIGILL, SIGSEGV, SIGBUS, SIGFPE, SIGABRT}) sigaction(signal, &action, nullptr);
  // Who starts a program in the background or under nohup ignores these for it.
  for (int signal : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction before {};
    sigaction(signal, nullptr, &before);
    if (before.sa_handler != SIG_IGN) sigaction(signal, &action, nullptr);
  }
}

void RemoveOnSignal(const std::string& path) {
  g_remove_set = 0;
  if (path.empty() || path.size() >= sizeof g_remove) return;
  std::memcpy(g_remove, path.c_str(), path.size() + 1);
  g_remove_set = 1;
}
