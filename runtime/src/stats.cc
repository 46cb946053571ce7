#include "stats.h"

#include <algorithm>
#include <cstdio>
#include <initializer_list>
#include <utility>

namespace microscopiq {
namespace {

std::string Quote(const std::string& text) {
  std::string out = "\"";
  for (unsigned char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (c < 0x20) {
      char code[8];
      std::snprintf(code, sizeof(code), "\\u%04x", c);
      out += code;
    } else {
      out += static_cast<char>(c);
    }
  }
  return out + "\"";
}

std::string Pair(const char* key, int64_t value) {
  return Quote(key) + ": " + std::to_string(value);
}

std::string Object(std::initializer_list<std::pair<const char*, int64_t>> fields) {
  std::string out;
  for (const auto& [key, value] : fields) out += (out.empty() ? "" : ", ") + Pair(key, value);
  return "{" + out + "}";
}

std::string ToJson(const Traffic& traffic) {
  return Object({{"read", traffic.read}, {"written", traffic.written}});
}

std::string ToJson(const UnitCycles& unit) {
  std::string out;
  for (int cause = 0; cause < kCauses; ++cause) {
    out += (cause ? ", " : "") + Pair(kCauseNames[cause], unit[cause]);
  }
  return "{" + out + "}";
}

}  // namespace

void CallRecord::Add(const CallRecord& part) {
  const auto add = [](Traffic* sum, const Traffic& one) {
    sum->read += one.read;
    sum->written += one.written;
  };
  cycles += part.cycles;
  instructions += part.instructions;
  macs += part.macs;
  weight_bits = std::max(weight_bits, part.weight_bits);
  outlier_rows += part.outlier_rows;
  saturations += part.saturations;
  temporal_adds += part.temporal_adds;
  temporal_sums += part.temporal_sums;
  vector_ops += part.vector_ops;
  accesses.activations += part.accesses.activations;
  accesses.weights += part.accesses.weights;
  accesses.sums_read += part.accesses.sums_read;
  accesses.sums_written += part.accesses.sums_written;
  recon.passes += part.recon.passes;
  recon.second_passes += part.recon.second_passes;
  recon.waits += part.recon.waits;
  recon.switch_ops += part.recon.switch_ops;
  for (int unit = 0; unit < kUnits; ++unit) {
    for (int cause = 0; cause < kCauses; ++cause) units[unit][cause] += part.units[unit][cause];
  }
  add(&dram, part.dram);
  add(&bursts, part.bursts);
  for (int mem = 0; mem < kMems; ++mem) add(&memories[mem], part.memories[mem]);
}

std::string CallRecord::ToJson() const {
  std::string out = "{\"function\": " + Quote(function) + ", \"name\": " + Quote(name) +
                    ", \"layer\": " + Quote(layer);
  out += ", " + Pair("cycles", cycles) + ", " + Pair("array_window", array_window);
  out += ", " + Pair("instructions", instructions) + ", " + Pair("macs", macs);
  out += ", " + Pair("weight_bits", weight_bits) + ", " + Pair("outlier_rows", outlier_rows);
  out += ", " + Pair("saturations", saturations) + ", " + Pair("vector_ops", vector_ops);
  out += ", " + Pair("temporal_adds", temporal_adds) + ", " + Pair("temporal_sums", temporal_sums);
  out += ", \"accesses\": " + Object({{"activations", accesses.activations},
                                      {"weights", accesses.weights},
                                      {"sums_read", accesses.sums_read},
                                      {"sums_written", accesses.sums_written}});
  out += ", \"recon\": " + Object({{"passes", recon.passes},
                                   {"second_passes", recon.second_passes},
                                   {"waits", recon.waits},
                                   {"switch_ops", recon.switch_ops}});
  out += ", \"units\": {";
  for (int unit = 1; unit < kUnits; ++unit) {
    if (unit > 1) out += ", ";
    out += Quote(kUnitNames[unit]) + ": " + microscopiq::ToJson(units[unit]);
  }
  out += "}, \"dram_bytes\": " + microscopiq::ToJson(dram);
  out += ", \"dram_burst_bytes\": " + microscopiq::ToJson(bursts) + ", \"memory_bytes\": {";
  for (int mem = 0; mem < kMems; ++mem) {
    if (mem > 0) out += ", ";
    out += Quote(kMemNames[mem]) + ": " + microscopiq::ToJson(memories[mem]);
  }
  return out + "}}";
}

}  // namespace microscopiq
