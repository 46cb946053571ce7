#include "machine/recon_settings.h"

#include <algorithm>

namespace microscopiq {

void ReconSettings::Load(int64_t address, const uint8_t* panel, int64_t bytes) {
  const auto overwritten = [&](const Loaded& other) {
    return other.begin < address + bytes && address < other.end;
  };
  loaded_.erase(std::remove_if(loaded_.begin(), loaded_.end(), overwritten), loaded_.end());
  loaded_.push_back({address, address + bytes, panel});
}

const ReconSetting* ReconSettings::Find(const PanelPart& part) const {
  const auto found = found_.find(KeyOf(part));
  return found == found_.end() ? nullptr : &found->second;
}

void ReconSettings::Keep(const PanelPart& part, const ReconSetting& setting) {
  const Key key = KeyOf(part);
  if (key.panel) found_.emplace(key, setting);
}

ReconSettings::Key ReconSettings::KeyOf(const PanelPart& part) const {
  for (const Loaded& loaded : loaded_) {
    if (loaded.begin != part.address) continue;
    // A part lies in a panel, whose header counts its rows and columns in a byte each.
    return {loaded.panel,
            static_cast<uint64_t>(part.row0) << 48 | static_cast<uint64_t>(part.col0) << 32 |
                static_cast<uint64_t>(part.rows) << 16 | static_cast<uint64_t>(part.cols)};
  }
  return {nullptr, 0};
}

}  // namespace microscopiq
