#include "flags.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <climits>
#include <cmath>
#include <cstdlib>
#include <functional>
#include <set>
#include <vector>

#include "errors.h"

namespace {

struct Spec {
  std::string name;
  std::string fallback;  // what help prints as the default
  std::string help;
  std::function<void(Flags&, const std::string&)> set;
  bool is_bool = false;
};

[[noreturn]] void Fail(const std::string& fact) { throw Error(kUsageError, fact, "", "sample_tester --help"); }

bool ParseInt(const std::string& text, int* value) {
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, *value);
  return error == std::errc() && stop == end;
}

// strtod also takes spaces, hexadecimal, "inf" and "nan"; a decimal number holds none of their letters.
bool ParseTime(const std::string& text, double* value) {
  if (text.empty() || text.find_first_not_of("0123456789.eE+-") != std::string::npos) return false;
  char* stop = nullptr;
  *value = std::strtod(text.c_str(), &stop);
  return *stop == '\0' && std::isfinite(*value) && *value >= 0;
}

Spec TextFlag(const std::string& name, std::string Flags::*field, const std::string& help) {
  return {name, "", help, [=](Flags& f, const std::string& v) { f.*field = v; }};
}

Spec IntFlag(const std::string& name, int Flags::*field, int least, int most, const std::string& help) {
  return {name, std::to_string(Flags().*field), help, [=](Flags& f, const std::string& v) {
            int value = 0;
            if (!ParseInt(v, &value) || value < least || value > most) {
              const std::string limit = most == INT_MAX ? "" : " to " + std::to_string(most);
              Fail("--" + name + ": '" + v + "' is not a whole number from " + std::to_string(least) + limit);
            }
            f.*field = value;
          }};
}

Spec TimeFlag(const std::string& name, double Flags::*field, const char* unit, const std::string& help) {
  std::string fallback = std::to_string(Flags().*field);
  fallback.erase(fallback.find_last_not_of('0') + 1);
  if (fallback.back() == '.') fallback.pop_back();
  return {name, fallback, help, [=](Flags& f, const std::string& v) {
            double value = 0;
            if (!ParseTime(v, &value)) Fail("--" + name + ": '" + v + "' is not a number of " + unit + " from 0");
            f.*field = value;
          }};
}

Spec ScenarioFlag(const std::string& help) {
  return {"scenario", "", help, [=](Flags& f, const std::string& v) {
            if (v != "single-stream" && v != "offline" && v != "server" && v != "soak") {
              Fail("--scenario: '" + v + "' is none of single-stream, offline, server, soak");
            }
            f.scenario = v;
          }};
}

// The same words as strict_bool in src/qat8/cli.py.
Spec BoolFlag(const std::string& name, bool Flags::*field, const std::string& help) {
  return {name, Flags().*field ? "true" : "false", help, [=](Flags& f, const std::string& v) {
            std::string word = v;
            std::transform(word.begin(), word.end(), word.begin(), [](unsigned char c) { return std::tolower(c); });
            const bool yes = word == "true" || word == "1" || word == "yes" || word == "on";
            const bool no = word == "false" || word == "0" || word == "no" || word == "off";
            if (!yes && !no) Fail("--" + name + ": '" + v + "' is neither true nor false");
            f.*field = yes;
          }, true};
}

const std::vector<Spec>& Specs() {
  static const std::vector<Spec> specs = {
      TextFlag("infer_model", &Flags::infer_model, "directory of the model (required)"),
      TextFlag("infer_data", &Flags::infer_data, "binary data file (required)"),
      IntFlag("warmup_size", &Flags::warmup_size, 0, INT_MAX, "batches to predict before the measurement"),
      IntFlag("batch_size", &Flags::batch_size, 1, INT_MAX, "images of a batch"),
      IntFlag("iterations", &Flags::iterations, -1, INT_MAX, "batches to predict; 0 or -1: the whole file"),
      IntFlag("num_threads", &Flags::num_threads, 1, INT_MAX, "CPU threads"),
      BoolFlag("with_accuracy_layer", &Flags::with_accuracy_layer,
               "the model takes image and label and computes top-1 and top-5 as outputs 1 and 2"),
      BoolFlag("use_profile", &Flags::use_profile, "print a table of operators (built with -DUSE_PROFILER=ON)"),
      TextFlag("json", &Flags::json, "write the result to this file"),
      TimeFlag("min_seconds", &Flags::min_seconds, "seconds",
               "after the file go on over its full batches, for speed alone, until this much time was measured"),
      IntFlag("data_dim", &Flags::data_dim, 1, 4096, "side of the images in a file of the raw layout"),
      BoolFlag("int8_online", &Flags::int8_online, "INT8 from the QAT float model: let the predictor quantize it"),
      BoolFlag("bf16", &Flags::bf16, "run the FP32 model in bfloat16, on a CPU that has it"),
      IntFlag("micro_batch", &Flags::micro_batch, 0, INT_MAX,
              "engine_tester: images that go through the network at a time; 0: the fastest, measured at loading"),
      BoolFlag("own_kernels", &Flags::own_kernels,
               "engine_tester: 3 x 3 convolutions by our own kernels where they are faster; false: all by oneDNN"),
      ScenarioFlag("single-stream, offline or server: speed alone, as MLPerf inference defines them; soak: the same work "
                   "for --duration, with nothing kept of it, for who watches the memory"),
      TimeFlag("duration", &Flags::duration, "seconds", "of a scenario, in server of each probe: at least so long"),
      IntFlag("min_queries", &Flags::min_queries, 0, INT_MAX,
              "of a scenario, in server of each probe: at least so many; 0: 1 offline, else 1024"),
      TimeFlag("target_latency_ms", &Flags::target_latency_ms, "milliseconds", "server: what p99 must not exceed"),
      IntFlag("seed", &Flags::seed, 0, INT_MAX, "of the arrivals and of the order of the images"),
      TextFlag("latencies_file", &Flags::latencies_file, "write the raw times of a scenario's queries to this file"),
      BoolFlag("barrier", &Flags::barrier,
               "after the warm-up of a scenario print 'ready' and wait for a line on standard input: when to start"),
      BoolFlag("vary_batch", &Flags::vary_batch, "of a soak: batches of every size from 1 to --batch_size, in turn"),
      BoolFlag("help", &Flags::help, "print this"),
  };
  return specs;
}

const Spec& Find(std::string name) {
  const std::string shown = name;
  std::replace(name.begin(), name.end(), '-', '_');
  for (const Spec& spec : Specs()) {
    if (spec.name == name) return spec;
  }
  Fail("unrecognized flag --" + shown);
}

// A flag that would do nothing is an error: the user thinks that it does something.
void CheckScenario(const std::set<std::string>& given, Flags* flags) {
  const auto refuse = [&](std::vector<std::string> names, const std::string& why) {
    for (const std::string& name : names) {
      if (given.count(name)) Fail("--" + name + " " + why);
    }
  };
  const std::string& scenario = flags->scenario;
  if (scenario.empty()) {
    refuse({"duration", "min_queries", "target_latency_ms", "seed", "latencies_file", "barrier", "vary_batch"},
           "without --scenario");
    return;
  }
  refuse({"iterations", "min_seconds"}, "with --scenario: use --duration and --min_queries");
  refuse({"use_profile"}, "with --scenario: profile without it");
  if (scenario == "offline") refuse({"seed"}, "with --scenario=offline, in which nothing is random");
  if (scenario != "server") refuse({"target_latency_ms"}, "without --scenario=server");
  if (scenario == "server" && flags->target_latency_ms <= 0) {
    Fail("--scenario=server needs --target_latency_ms, what p99 must not exceed (MLPerf's for ResNet50 is 15)");
  }
  if (scenario != "soak") refuse({"vary_batch"}, "without --scenario=soak");
  if (scenario == "soak") {
    refuse({"min_queries", "latencies_file", "warmup_size"}, "with --scenario=soak, which keeps and times nothing");
    refuse({"with_accuracy_layer"}, "with --scenario=soak, which needs the scores");
    return;
  }
  if (scenario != "offline" && !given.count("batch_size")) flags->batch_size = 1;  // a query of MLPerf's is one image
  if (flags->min_queries == 0) flags->min_queries = scenario == "offline" ? 1 : 1024;
}

}  // namespace

Flags ParseFlags(int argc, char** argv) {
  Flags flags;
  std::set<std::string> given;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument.rfind("--", 0) != 0) Fail("unrecognized argument '" + argument + "'");
    const std::size_t equals = argument.find('=');
    const Spec& spec = Find(argument.substr(2, equals == std::string::npos ? equals : equals - 2));
    given.insert(spec.name);
    const bool value_follows = i + 1 < argc && std::string(argv[i + 1]).rfind("--", 0) != 0;
    if (equals != std::string::npos) {
      spec.set(flags, argument.substr(equals + 1));
    } else if (value_follows) {
      spec.set(flags, argv[++i]);
    } else if (spec.is_bool) {
      spec.set(flags, "true");
    } else {
      Fail("--" + spec.name + " needs a value");
    }
  }
  if (flags.help) return flags;
  if (flags.infer_model.empty()) Fail("--infer_model is missing: the directory of the model");
  if (flags.infer_data.empty()) Fail("--infer_data is missing: the binary data file");
  if (flags.bf16 && flags.int8_online) Fail("--bf16 with --int8_online: a model runs in one precision");
  CheckScenario(given, &flags);
  return flags;
}

std::string HelpText() {
  std::string text = "usage: sample_tester --infer_model=DIR --infer_data=FILE [--flag=value ...]\n\n";
  for (const Spec& spec : Specs()) {
    text += "  --" + spec.name + std::string(spec.name.size() < 20 ? 20 - spec.name.size() : 1, ' ') + spec.help;
    text += spec.fallback.empty() ? "\n" : " (default: " + spec.fallback + ")\n";
  }
  return text;
}
