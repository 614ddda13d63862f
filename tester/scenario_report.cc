#include "scenario_report.h"

#include <cstdio>

#include "errors.h"
#include "json_writer.h"
#include "predictor.h"

namespace {

Summary OfLatencies(const std::vector<Query>& queries) {
  std::vector<double> ms;
  for (const Query& query : queries) ms.push_back(query.latency_ms());
  return Summarise(ms);
}

std::string SummaryJson(const Summary& s) {
  JsonObject json;
  json.Real("mean", s.mean).Real("p50", s.p50).Real("p90", s.p90).Real("p99", s.p99);
  return json.Real("min", s.min).Real("max", s.max).str();
}

std::string ProbeJson(const Probe& p) {
  JsonObject json;
  json.Real("rate", p.rate).Integer("seed", static_cast<long long>(p.seed));
  json.Integer("planned", static_cast<long long>(p.planned)).Integer("queries", static_cast<long long>(p.queries));
  json.Integer("late", static_cast<long long>(p.late)).Real("seconds", p.seconds).Real("p99_ms", p.p99_ms);
  return json.Raw("meets", p.meets ? "true" : "false").str();
}

std::string ServerJson(const Flags& flags, const ScenarioRun& run) {
  std::string probes;
  for (const Probe& p : run.search.probes) probes += (probes.empty() ? "" : ", ") + ProbeJson(p);
  JsonObject json;
  json.Real("target_latency_ms", flags.target_latency_ms).Real("rate", run.search.rate);
  json.Raw("confirmed", run.search.confirmed ? "true" : "false").Raw("service_ms", SummaryJson(run.service));
  return json.Raw("probes", "[" + probes + "]").str();
}

void PrintServer(const Flags& flags, const ScenarioRun& run) {
  const double target = flags.target_latency_ms;
  std::printf("latency without a queue: mean %.3fms, p99 %.3fms\n", run.service.mean, run.service.p99);
  for (const Probe& p : run.search.probes) {
    std::printf("probe: %.1f queries/s, seed %llu: ", p.rate, static_cast<unsigned long long>(p.seed));
    if (p.meets) {
      std::printf("p99 %.3fms of %zu queries in %.1f s, meets %gms\n", p.p99_ms, p.queries, p.seconds, target);
    } else {
      std::printf("lost after %zu of %zu queries, %zu later than %gms\n", p.queries, p.planned, p.late, target);
    }
  }
  if (run.search.rate > 0) {
    std::printf("highest rate that meets p99 <= %gms: %.1f queries/s (%s)\n", target, run.search.rate,
                run.search.confirmed ? "confirmed with another seed" : "not confirmed within the number of probes");
  } else {
    std::printf("no rate meets p99 <= %gms\n", target);
  }
}

}  // namespace

void PrintScenario(const Flags& flags, const ScenarioRun& run) {
  std::printf("Model: %s\n", flags.infer_model.c_str());
  std::printf("====== num of threads: %d ======\n", flags.num_threads);
  std::printf("====== scenario: %s, images of a query: %zu ======\n", flags.scenario.c_str(), run.images_per_query);
  if (flags.scenario == "server") PrintServer(flags, run);
  if (!run.queries.empty()) {
    const Summary s = OfLatencies(run.queries);
    std::printf("queries: %zu in %.1f s, %.2f queries/s, fps: %.2f\n", run.queries.size(), run.seconds,
                run.queries_per_second(), run.images_per_second());
    std::printf("query latency: mean %.3fms, p50 %.3fms, p90 %.3fms, p99 %.3fms, min %.3fms, max %.3fms\n", s.mean,
                s.p50, s.p90, s.p99, s.min, s.max);
  }
  std::printf("threads alive: %d, busy: %d\n", run.threads_alive, run.threads_busy);
  std::printf("peak memory: %.1f MiB\n", static_cast<double>(run.peak_rss_bytes) / (1 << 20));
  if (std::fflush(stdout) != 0 || std::ferror(stdout)) {
    throw Error(kMachineError, "cannot write to standard output", "", "make room, then run again");
  }
}

std::string ScenarioJson(const Flags& flags, const Setting& setting, const ScenarioRun& run) {
  const bool any = !run.queries.empty();
  JsonObject json(",\n ");
  json.Integer("schema", 1).Text("tester", kTesterName).Text("scenario", flags.scenario);
  json.Text("paddle_version", setting.paddle_version);
  json.Text("infer_model", flags.infer_model).Text("infer_data", flags.infer_data);
  json.Raw("fingerprint", setting.fingerprint.empty() ? "null" : setting.fingerprint);
  json.Integer("images_per_query", static_cast<long long>(run.images_per_query));
  json.Integer("num_threads", flags.num_threads).Integer("warmup_size", flags.warmup_size);
  json.Real("duration", flags.duration).Integer("min_queries", flags.min_queries).Integer("seed", flags.seed);
  json.Integer("pool_images", static_cast<long long>(run.pool_images));
  json.Integer("queries", static_cast<long long>(run.queries.size())).Real("seconds", run.seconds);
  json.Real("queries_per_second", any ? run.queries_per_second() : 0);
  json.Real("images_per_second", any ? run.images_per_second() : 0);
  json.Raw("latency_ms", any ? SummaryJson(OfLatencies(run.queries)) : "null");
  json.Integer("start_ns", any ? run.queries.front().start_ns : 0);
  json.Integer("end_ns", any ? run.queries.back().end_ns : 0);
  json.Raw("server", flags.scenario == "server" ? ServerJson(flags, run) : "null");
  json.Raw("predictions", JsonArray(run.predictions));
  json.Real("init_ms", setting.init_ms).Integer("peak_rss_bytes", run.peak_rss_bytes);
  json.Integer("threads_alive", run.threads_alive).Integer("threads_busy", run.threads_busy);
  json.Raw("affinity", JsonArray(setting.affinity));
  return json.str() + "\n";
}
