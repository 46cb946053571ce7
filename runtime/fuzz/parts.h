// A saved program cut at its seams, for a mutator. Nothing here is checked but lengths.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace microscopiq {

struct FunctionParts {
  std::string head;  // name, layer, macs, arguments
  std::vector<std::string> code;
  std::string weights;
  std::string tail;  // notes, where operators start, sizes
};

struct ProgramParts {
  std::string head;                 // names, architecture
  std::vector<size_t> arch_values;  // where its numbers lie in `head`
  std::vector<FunctionParts> functions;
};

// Bytes before the payload.
constexpr size_t kHeadBytes = 8 + 4 + 4 + 8;

// False if lengths don't add up.
bool Split(const std::string& program, ProgramParts* parts);
std::string Join(const ProgramParts& parts);
// A payload with magic, version, checksum and length before it.
std::string Seal(const std::string& payload);

}  // namespace microscopiq
