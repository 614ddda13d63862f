// Measures the speed and the accuracy of an image classification model on oneDNN: the tutorial's tester, section 4.2.
#include <stdlib.h>

#include <chrono>
#include <cstdio>
#include <exception>
#include <new>

#include "data_file.h"
#include "errors.h"
#include "flags.h"
#include "json_writer.h"
#include "latency_file.h"
#include "measure.h"
#include "paddle_error.h"
#include "predictor.h"
#include "process_info.h"
#include "profile.h"
#include "report.h"
#include "scenario.h"
#include "scenario_report.h"
#include "signals.h"
#include "soak.h"

namespace {

// A name in a model may hold anything: what would move the terminal's cursor is written as \xNN.
int Fail(const std::string& line, int code) {
  std::string text;
  for (const char c : line) {
    char escaped[5] = {c};
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) std::snprintf(escaped, sizeof escaped, "\\x%02x", c);
    text += escaped;
  }
  std::fflush(stdout);
  std::fprintf(stderr, "error: %s\n", text.c_str());
  return code;
}

void Main(const Flags& flags) {
  Setting setting;
  setting.affinity = AllowedCpus();
  if (!flags.json.empty()) CheckWritable("--json", flags.json);
  if (!flags.latencies_file.empty()) CheckWritable("--latencies_file", flags.latencies_file);
  Profiler profiler(flags.use_profile);
  DataFile data(flags.infer_data, flags.data_dim);
  setting.fingerprint = data.fingerprint();
  setting.paddle_version = CheckLibraryVersion();

  profiler.Start();
  const auto start = std::chrono::steady_clock::now();
  Predictor predictor(flags, data.height(), data.width(), data.levels());
  setting.init_ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  profiler.Collect(false);
  if (flags.scenario == "soak") {
    const SoakRun run = RunSoak(flags, &data, &predictor);
    PrintSoak(flags, run);
    if (!flags.json.empty()) WriteFileAtomically(flags.json, SoakJson(flags, setting, run));
    return;
  }
  if (!flags.scenario.empty()) {
    const ScenarioRun run = RunScenario(flags, &data, &predictor);
    PrintScenario(flags, run);
    if (!flags.latencies_file.empty()) {
      WriteFileAtomically(flags.latencies_file, LatencyFile(static_cast<int>(run.images_per_query), run.queries));
    }
    if (!flags.json.empty()) WriteFileAtomically(flags.json, ScenarioJson(flags, setting, run));
    return;
  }
  const Measurement measurement = Measure(flags, &data, &predictor, &profiler);
  profiler.Stop();

  PrintReport(flags, measurement);
  profiler.Print(stdout, measurement.measured_ms);
  if (!flags.json.empty()) WriteFileAtomically(flags.json, ReportJson(flags, setting, measurement));
}

}  // namespace

// oneDNN keeps 1024 primitives, some 30 for each batch size, and 3.2.1 loses memory with the ones that it evicts: a
// process that goes on changing its batch sizes would grow for ever. So none is evicted, unless the user says otherwise.
void KeepPrimitives() { setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "1000000", 0); }

int main(int argc, char** argv) {
  InstallSignalHandlers();
  KeepPrimitives();
  try {
    const Flags flags = ParseFlags(argc, argv);
    if (flags.help) {
      std::fputs(HelpText().c_str(), stdout);
      return 0;
    }
    Main(flags);
    return 0;
  } catch (const Error& e) {
    return Fail(e.what(), e.code());
  } catch (const std::bad_alloc&) {
    return Fail("out of memory; next: a smaller --batch_size", kMachineError);
  } catch (const std::exception& e) {
    return Fail(BriefPaddleError(e.what()), kQatError);
  }
}
