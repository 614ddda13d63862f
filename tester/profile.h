// A table of operators, from oneDNN's own log. (AnalysisConfig::EnableProfile prints nothing in Paddle 2.6.2.)
#pragma once

#include <cstddef>
#include <cstdio>
#include <map>
#include <string>

class Profiler {
 public:
  // Off: every call below does nothing. On in a build without USE_PROFILER: an error that names the option.
  explicit Profiler(bool on);
  ~Profiler();
  Profiler(const Profiler&) = delete;
  Profiler& operator=(const Profiler&) = delete;

  // Turns oneDNN's log on and catches it. Before the predictor is made: oneDNN reads its environment once.
  void Start();
  // Takes in what was logged since the last call; `count` false throws it away (warm-up).
  void Collect(bool count);
  // Gives standard output back.
  void Stop();
  void Print(std::FILE* to, double measured_ms) const;

 private:
  struct Row {
    std::size_t calls = 0;
    double ms = 0;
  };
  void AddLine(const std::string& line, bool count);

  bool on_;
  std::FILE* log_ = nullptr;  // an unnamed temporary file that stands in for standard output
  int stdout_ = -1;
  std::map<std::string, Row> rows_;
};
