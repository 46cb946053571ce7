#include "parts.h"

#include <cstring>

#include "program/byte_reader.h"
#include "program/program.h"

namespace microscopiq {
namespace {

template <typename T>
std::string Bytes(T value) {
  return std::string(reinterpret_cast<const char*>(&value), sizeof(value));
}

void Skip(ByteReader* reader, uint32_t (*length)(ByteReader*)) { reader->Raw(length(reader)); }

uint32_t Count(ByteReader* reader) { return reader->Number<uint32_t>(); }

// What was read since `begin`.
std::string Since(const std::string& bytes, uint64_t begin, const ByteReader& reader) {
  return bytes.substr(begin, reader.position() - begin);
}

void SkipSizes(ByteReader* reader) {
  for (uint32_t left = Count(reader); left > 0; --left) {
    Skip(reader, Count);
    reader->Raw(40);
  }
  for (uint32_t rows = Count(reader); rows > 0; --rows) {
    reader->Raw(8);
    for (uint32_t terms = Count(reader); terms > 0; --terms) {
      reader->Raw(8);
      reader->Raw(4 * uint64_t{Count(reader)});
    }
  }
  for (uint64_t width : {12, 16}) reader->Raw(width * Count(reader));
}

FunctionParts SplitFunction(const std::string& payload, ByteReader* reader) {
  FunctionParts parts;
  uint64_t begin = reader->position();
  Skip(reader, Count);
  Skip(reader, Count);
  reader->Number<uint64_t>();
  for (uint32_t left = Count(reader); left > 0; --left) {
    Skip(reader, Count);
    reader->Raw(2);
    const uint32_t dimensions = Count(reader);
    reader->Raw(8 * uint64_t{dimensions});
  }
  parts.head = Since(payload, begin, *reader);
  const uint64_t end = reader->Number<uint64_t>() + reader->position();
  while (reader->position() < end) {
    begin = reader->position();
    reader->Raw(2);
    const uint16_t length = reader->Number<uint16_t>();
    reader->Raw(length < 4 ? 0 : length - 4);
    parts.code.push_back(Since(payload, begin, *reader));
  }
  const uint64_t weights = reader->Number<uint64_t>();
  begin = reader->position();
  reader->Raw(weights);
  parts.weights = Since(payload, begin, *reader);
  begin = reader->position();
  for (uint32_t left = Count(reader); left > 0; --left) {
    reader->Raw(4);
    Skip(reader, Count);
  }
  for (uint32_t left = Count(reader); left > 0; --left) {
    Skip(reader, Count);
    Skip(reader, Count);
    reader->Raw(12);
  }
  SkipSizes(reader);
  parts.tail = Since(payload, begin, *reader);
  return parts;
}

}  // namespace

bool Split(const std::string& program, ProgramParts* parts) {
  if (program.size() < kHeadBytes) return false;
  const std::string payload = program.substr(kHeadBytes);
  ByteReader reader(reinterpret_cast<const uint8_t*>(payload.data()), payload.size());
  try {
    // The machine's name and hash, and its technology.
    for (int text = 0; text < 3; ++text) Skip(&reader, Count);
    for (uint32_t left = Count(&reader); left > 0; --left) {
      Skip(&reader, Count);
      parts->arch_values.push_back(reader.position());
      reader.Raw(8);
    }
    parts->head = Since(payload, 0, reader);
    for (uint32_t left = Count(&reader); left > 0; --left) {
      parts->functions.push_back(SplitFunction(payload, &reader));
    }
  } catch (const Error&) {
    return false;
  }
  return reader.left() == 0;
}

std::string Join(const ProgramParts& parts) {
  std::string out = parts.head + Bytes(static_cast<uint32_t>(parts.functions.size()));
  for (const FunctionParts& function : parts.functions) {
    std::string code;
    for (const std::string& instruction : function.code) code += instruction;
    out += function.head + Bytes(uint64_t{code.size()}) + code;
    out += Bytes(uint64_t{function.weights.size()}) + function.weights + function.tail;
  }
  return out;
}

std::string Seal(const std::string& payload) {
  const uint8_t* data = reinterpret_cast<const uint8_t*>(payload.data());
  return std::string(kMagic.begin(), kMagic.end()) + Bytes(kProgramVersion) +
         Bytes(Crc32(data, payload.size())) + Bytes(uint64_t{payload.size()}) + payload;
}

}  // namespace microscopiq
