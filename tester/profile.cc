#include "profile.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <sstream>
#include <utility>
#include <vector>

#include "errors.h"

Profiler::Profiler(bool on) : on_(on) {
  if (on && !USE_PROFILER) {
    throw Error(kMachineError, "--use_profile: this program was built with USE_PROFILER=OFF", "",
                "build it again with cmake -DUSE_PROFILER=ON");
  }
}

Profiler::~Profiler() {
  Stop();
  if (log_ != nullptr) std::fclose(log_);
}

void Profiler::Start() {
  if (!on_) return;
  setenv("ONEDNN_VERBOSE", "1", 1);
  setenv("DNNL_VERBOSE", "1", 1);  // the name before oneDNN 2.3
  std::fflush(stdout);
  log_ = std::tmpfile();
  stdout_ = dup(STDOUT_FILENO);
  if (log_ == nullptr || stdout_ < 0 || dup2(fileno(log_), STDOUT_FILENO) < 0) {
    throw Error(kMachineError, "--use_profile: cannot make a temporary file", "", "make room in /tmp");
  }
}

// Collected after every batch, so that the file stays small however long the run is.
void Profiler::Collect(bool count) {
  if (stdout_ < 0) return;
  std::fflush(stdout);
  std::rewind(log_);
  std::string line;
  for (int c; (c = std::fgetc(log_)) != EOF;) {
    if (c != '\n') {
      line += static_cast<char>(c);
      continue;
    }
    AddLine(line, count);
    line.clear();
  }
  // stdout shares the file's offset: both go back to the start.
  std::rewind(log_);
  if (ftruncate(fileno(log_), 0) != 0 || lseek(STDOUT_FILENO, 0, SEEK_SET) != 0) {
    throw Error(kMachineError, "--use_profile: cannot empty the temporary file");
  }
}

// "onednn_verbose,exec,cpu,convolution,brgconv:avx512_core_vnni,...,0.48": after "exec" the engine, the kind of
// primitive and its implementation, last the milliseconds.
void Profiler::AddLine(const std::string& line, bool count) {
  const bool verbose = line.rfind("onednn_verbose,", 0) == 0 || line.rfind("dnnl_verbose,", 0) == 0;
  if (!verbose) {
    std::fprintf(stderr, "%s\n", line.c_str());
    return;
  }
  std::vector<std::string> fields;
  std::istringstream stream(line);
  for (std::string field; std::getline(stream, field, ',');) fields.push_back(field);
  const auto exec = std::find(fields.begin(), fields.end(), "exec");
  if (!count || fields.end() - exec < 5) return;
  Row& row = rows_[exec[2] + " " + exec[3]];
  ++row.calls;
  row.ms += std::strtod(fields.back().c_str(), nullptr);
}

void Profiler::Stop() {
  if (stdout_ < 0) return;
  std::fflush(stdout);
  dup2(stdout_, STDOUT_FILENO);
  close(stdout_);
  stdout_ = -1;
}

void Profiler::Print(std::FILE* to, double measured_ms) const {
  if (!on_) return;
  std::vector<std::pair<std::string, Row>> rows(rows_.begin(), rows_.end());
  std::stable_sort(rows.begin(), rows.end(), [](const auto& a, const auto& b) { return a.second.ms > b.second.ms; });
  double known = 0;
  std::fprintf(to, "Operators (oneDNN primitives of the measured batches):\n");
  std::fprintf(to, "%-52s %10s %12s %8s\n", "primitive implementation", "count", "total ms", "share");
  for (const auto& [name, row] : rows) {
    std::fprintf(to, "%-52s %10zu %12.3f %7.2f%%\n", name.c_str(), row.calls, row.ms, 100 * row.ms / measured_ms);
    known += row.ms;
  }
  const double rest = measured_ms - known;
  std::fprintf(to, "%-52s %10s %12.3f %7.2f%%\n", "(outside oneDNN)", "", rest, 100 * rest / measured_ms);
}
