// BM25 over the lexical postings of segments, see rag_tools/index/lexical.py, which defines it.

#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "search.h"

namespace rag_tools {

// Numbers in one, two or four bytes each.
struct Numbers {
    const void* data;
    int64_t n;
    int bytes;

    uint32_t operator[](int64_t i) const {
        if (bytes == 2) return static_cast<const uint16_t*>(data)[i];
        if (bytes == 1) return static_cast<const uint8_t*>(data)[i];
        return static_cast<const uint32_t*>(data)[i];
    }
};

// The arrays of a segment's postings, as docs/format.md describes them. They are mapped from a file
// that may be damaged: whatever is read of them is compared with the sizes before it leads anywhere.
struct LexicalPostings {
    const uint8_t* terms;
    int64_t n_term_bytes;
    const uint32_t *term_offsets, *posting_offsets, *block_offsets;   // (n_terms + 1)
    int64_t n_terms;
    const uint32_t *block_last, *block_places, *block_frequency;      // (n_blocks)
    const float* block_ratio;
    int64_t n_blocks;
    Numbers passages, frequencies, places, lengths;
};

// The passages of one segment that hold a phrase.
struct TermList {
    Numbers passages, frequencies;
    const uint32_t *block_last, *block_frequency;
    const float* block_ratio;
    // Of a phrase of several terms, where no file holds them.
    std::vector<uint32_t> own_passages, own_frequencies, own_last, own_frequency;
    std::vector<float> own_ratio;
};

using Phrase = std::vector<std::string>;

// What is looked for in several segments.
class TermLists {
  public:
    TermLists(std::vector<LexicalPostings> segments, const std::vector<Phrase>& phrases);

    // How many passages hold each phrase, of those marked in `live`; null: of all.
    std::vector<int64_t> counts(const std::vector<const uint8_t*>& live) const;

    struct Found {
        double score;
        Place place;
    };
    // The `limit` best of the passages marked in `selected`, and those that tie with the last, best
    // first, those with equal scores by place. `numbers`: of the phrases that count, with `weights`.
    std::vector<Found> best(const std::vector<int64_t>& numbers, const std::vector<double>& weights,
                            double mean, const std::vector<const uint8_t*>& selected,
                            int64_t limit) const;

  private:
    std::vector<LexicalPostings> segments_;
    std::vector<std::vector<TermList>> lists_;   // by phrase, by segment
};

}  // namespace rag_tools
