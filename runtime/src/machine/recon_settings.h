// What `recon.config` found in a part of a panel, and where it found it before.
//
// A shape-only segment has few panels that differ, and a timing-only run configures parts of them
// again and again: reading their metadata each time would be most of its work.
#pragma once
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "machine/plane.h"
#include "recon/plan.h"

namespace microscopiq {

struct ReconSetting {
  std::shared_ptr<const ReconPlan> plan;  // null for a part without outliers
  int64_t switches = 0;                   // that a visit passes
  int64_t outlier_rows = 0;
  int64_t bytes = 0;  // of wbuf that were read
};

class ReconSettings {
 public:
  // Forgets what wbuf holds, not what was found in it: panels never change.
  void Empty() { loaded_.clear(); }
  // A panel's bytes were copied to an address of wbuf, over whatever was there.
  void Load(int64_t address, const uint8_t* panel, int64_t bytes);
  // The setting of a part of the panel at its address; null if there is none yet.
  const ReconSetting* Find(const PanelPart& part) const;
  // Keeps a setting, unless no panel was loaded at the part's address.
  void Keep(const PanelPart& part, const ReconSetting& setting);

 private:
  struct Loaded {
    int64_t begin;
    int64_t end;
    const uint8_t* panel;
  };
  struct Key {
    const uint8_t* panel;
    uint64_t part;
    bool operator==(const Key& other) const { return panel == other.panel && part == other.part; }
  };
  struct Hash {
    size_t operator()(const Key& key) const {
      return reinterpret_cast<uintptr_t>(key.panel) + key.part * 0x9E3779B97F4A7C15u;
    }
  };

  // With a null panel if none was loaded at the part's address.
  Key KeyOf(const PanelPart& part) const;

  std::vector<Loaded> loaded_;
  std::unordered_map<Key, ReconSetting, Hash> found_;
};

}  // namespace microscopiq
