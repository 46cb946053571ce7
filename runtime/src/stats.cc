#include "stats.h"

#include <cstdio>

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

std::string ToJson(const Traffic& traffic) {
  return "{" + Pair("read", traffic.read) + ", " + Pair("written", traffic.written) + "}";
}

std::string ToJson(const UnitCycles& unit) {
  return "{" + Pair("busy", unit.busy) + ", " + Pair("dependency", unit.dependency) + ", " +
         Pair("recon", unit.recon) + ", " + Pair("other", unit.other) + "}";
}

}  // namespace

std::string CallRecord::ToJson() const {
  std::string out = "{\"name\": " + Quote(name) + ", \"layer\": " + Quote(layer);
  out += ", " + Pair("cycles", cycles) + ", " + Pair("instructions", instructions);
  out += ", " + Pair("macs", macs) + ", " + Pair("outlier_rows", outlier_rows);
  out += ", " + Pair("saturations", saturations) + ", \"units\": {";
  for (int unit = 1; unit < kUnits; ++unit) {
    if (unit > 1) out += ", ";
    out += Quote(kUnitNames[unit]) + ": " + microscopiq::ToJson(units[unit]);
  }
  out += "}, \"dram_bytes\": " + microscopiq::ToJson(dram) + ", \"memory_bytes\": {";
  for (int mem = 0; mem < kMems; ++mem) {
    if (mem > 0) out += ", ";
    out += Quote(kMemNames[mem]) + ": " + microscopiq::ToJson(memories[mem]);
  }
  return out + "}}";
}

}  // namespace microscopiq
