// Changes programs so that most of them still load: it knows where instructions and operands lie,
// keeps lengths right and renews the checksum.
#pragma once
#include <cstdint>
#include <random>
#include <string>

namespace microscopiq {

using Random = std::mt19937_64;

// A changed program; bytes that are no program are changed as bytes.
std::string Mutate(const std::string& program, Random* random);

// The same machine and arguments, with instructions and weights made up.
std::string MakeUp(const std::string& program, Random* random);

}  // namespace microscopiq
