// Block-max MaxScore over windows of passages (Ding and Suel 2011; Lucene's bulk scorer).
//
// In each window of passages, the terms that could not lift a passage among the best even together
// are left out at first: the passages of the others are scored, and the rest of the terms is looked
// up for those alone that can still be among the best. What a term adds at most is known for blocks
// of its passages. Nothing is left out that could be among the best or tie with the last of them.

#include "lexical.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <numeric>
#include <stdexcept>

namespace rag_tools {
namespace {

constexpr int64_t kBlock = 128;     // postings.BLOCK
constexpr uint32_t kWindow = 2048;  // passages; their scores take half of a first-level cache
constexpr double kK1 = 1.2, kB = 0.75;
constexpr double kRounding = 1.5 * (1 << 12);   // lexical._ROUNDING
// Bounds are computed in another order than scores, of ratios in single precision.
constexpr double kSlack = 1 + 1e-6, kUnit = 1e-12;

void check(bool holds) {
    if (!holds) throw std::invalid_argument("lexical postings are damaged");
}

int64_t blocks_of(int64_t n) { return (n + kBlock - 1) / kBlock; }

// The number of a term, or -1.
int64_t find(const LexicalPostings& postings, const std::string& term) {
    int64_t low = 0, high = postings.n_terms;
    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        const int64_t start = postings.term_offsets[middle];
        const int64_t end = static_cast<int64_t>(postings.term_offsets[middle + 1]) - 1;
        check(start <= end && end < postings.n_term_bytes);
        const size_t size = static_cast<size_t>(end - start);
        const int order = std::memcmp(postings.terms + start, term.data(),
                                      std::min(size, term.size()));
        if (order == 0 && size == term.size()) return middle;
        if (order < 0 || (order == 0 && size < term.size()))
            low = middle + 1;
        else
            high = middle;
    }
    return -1;
}

// The postings of one term as the file holds them.
struct Stored {
    int64_t first, n, block;
};

Stored stored(const LexicalPostings& postings, int64_t number) {
    const int64_t first = postings.posting_offsets[number];
    const int64_t n = static_cast<int64_t>(postings.posting_offsets[number + 1]) - first;
    const int64_t block = postings.block_offsets[number];
    check(n >= 0 && first + n <= postings.passages.n);
    check(block + blocks_of(n) <= postings.n_blocks);
    return {first, n, block};
}

Numbers part(const Numbers& numbers, int64_t first, int64_t n) {
    return {static_cast<const char*>(numbers.data) + first * numbers.bytes, n, numbers.bytes};
}

// The first posting from `at` on whose passage isn't below `passage`.
int64_t seek(const Numbers& passages, const uint32_t* block_last, int64_t at, uint32_t passage) {
    if (at >= passages.n || passages[at] >= passage) return at;
    int64_t block = at / kBlock;
    const int64_t n_blocks = blocks_of(passages.n);
    if (block_last[block] < passage) {
        int64_t low = block + 1, step = 1;   // doubled until a block reaches far enough
        while (low < n_blocks && block_last[low] < passage) {
            block = low;
            low += step;
            step *= 2;
        }
        block = std::lower_bound(block_last + block + 1, block_last + std::min(low, n_blocks),
                                 passage) - block_last;
        if (block >= n_blocks) return passages.n;
        at = block * kBlock;
    }
    int64_t low = at, high = std::min((block + 1) * kBlock, passages.n);
    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        if (passages[middle] < passage)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

// Walks the postings of one term of a phrase, to read where it stands.
class Walk {
  public:
    Walk(const LexicalPostings& postings, const Stored& term)
        : postings_(postings), term_(term),
          passages_(part(postings.passages, term.first, term.n)),
          block_last_(postings.block_last + term.block) {}

    int64_t size() const { return term_.n; }
    uint32_t passage() const { return passages_[at_]; }
    bool seek_to(uint32_t passage) {
        at_ = seek(passages_, block_last_, at_, passage);
        return at_ < term_.n && passages_[at_] == passage;
    }
    void to(int64_t at) { at_ = at; }

    // Where the term stands in this passage.
    Numbers places() const {
        const int64_t block = at_ / kBlock;
        int64_t start = postings_.block_places[term_.block + block];
        for (int64_t i = block * kBlock; i < at_; ++i)
            start += postings_.frequencies[term_.first + i];
        const int64_t n = postings_.frequencies[term_.first + at_];
        check(start + n <= postings_.places.n);
        return part(postings_.places, start, n);
    }

  private:
    const LexicalPostings& postings_;
    Stored term_;
    Numbers passages_;
    const uint32_t* block_last_;
    int64_t at_ = 0;
};

bool holds(const Numbers& rising, uint32_t number) {
    int64_t low = 0, high = rising.n;
    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        if (rising[middle] < number)
            low = middle + 1;
        else
            high = middle;
    }
    return low < rising.n && rising[low] == number;
}

// How often the terms stand one after the other in a passage.
uint32_t times_in_a_row(const std::vector<Walk>& walks) {
    std::vector<Numbers> places;
    for (const Walk& walk : walks) places.push_back(walk.places());
    uint32_t times = 0;
    for (int64_t i = 0; i < places[0].n; ++i) {
        size_t term = 1;
        while (term < places.size() &&
               holds(places[term], places[0][i] + static_cast<uint32_t>(term)))
            ++term;
        times += term == places.size();
    }
    return times;
}

void set_blocks(const LexicalPostings& postings, TermList& list) {
    const size_t n = list.own_passages.size();
    for (size_t first = 0; first < n; first += kBlock) {
        const size_t end = std::min(n, first + static_cast<size_t>(kBlock));
        uint32_t most = 0;
        float least = std::numeric_limits<float>::infinity();
        for (size_t i = first; i < end; ++i) {
            const uint32_t times = list.own_frequencies[i];
            most = std::max(most, times);
            least = std::min(least, static_cast<float>(postings.lengths[list.own_passages[i]]) /
                                        static_cast<float>(times));
        }
        list.own_last.push_back(list.own_passages[end - 1]);
        list.own_frequency.push_back(most);
        list.own_ratio.push_back(least);
    }
    list.passages = {list.own_passages.data(), static_cast<int64_t>(n), 4};
    list.frequencies = {list.own_frequencies.data(), static_cast<int64_t>(n), 4};
    list.block_last = list.own_last.data();
    list.block_frequency = list.own_frequency.data();
    list.block_ratio = list.own_ratio.data();
}

TermList list_of(const LexicalPostings& postings, const Phrase& phrase) {
    TermList list = {};
    std::vector<Stored> terms;
    for (const std::string& term : phrase) {
        const int64_t number = find(postings, term);
        if (number < 0) return list;
        terms.push_back(stored(postings, number));
    }
    if (terms.size() == 1) {
        const Stored& term = terms[0];
        list.passages = part(postings.passages, term.first, term.n);
        list.frequencies = part(postings.frequencies, term.first, term.n);
        list.block_last = postings.block_last + term.block;
        list.block_frequency = postings.block_frequency + term.block;
        list.block_ratio = postings.block_ratio + term.block;
        return list;
    }
    std::vector<Walk> walks;
    size_t rarest = 0;
    for (const Stored& term : terms) {
        walks.emplace_back(postings, term);
        if (term.n < walks[rarest].size()) rarest = walks.size() - 1;
    }
    for (int64_t i = 0; i < terms[rarest].n; ++i) {
        walks[rarest].to(i);
        const uint32_t passage = walks[rarest].passage();
        check(passage < postings.lengths.n);
        bool all = true;
        for (size_t other = 0; all && other < walks.size(); ++other)
            all = other == rarest || walks[other].seek_to(passage);
        if (!all) continue;
        if (const uint32_t times = times_in_a_row(walks)) {
            list.own_passages.push_back(passage);
            list.own_frequencies.push_back(times);
        }
    }
    set_blocks(postings, list);
    return list;
}

// What a passage adds to the length-dependent part of the formula.
class Spreads {
  public:
    explicit Spreads(double mean) : mean_(mean), known_(kKnown) {
        for (uint32_t length = 0; length < kKnown; ++length) known_[length] = of(length);
    }
    double operator[](uint32_t length) const {
        return length < kKnown ? known_[length] : of(length);
    }

  private:
    static constexpr uint32_t kKnown = 1024;
    double of(uint32_t length) const { return kK1 * (1 - kB + kB * length / mean_); }
    double mean_;
    std::vector<double> known_;
};

// The best so far, with those that tie with the last of them.
class Best {
  public:
    explicit Best(int64_t limit) : limit_(static_cast<size_t>(limit)), full_(2 * limit_ + 64) {}

    // No passage below it is among the best.
    double least() const { return least_; }

    void add(double score, Place place) {
        found_.push_back({score, place});
        if (found_.size() >= full_) {
            settle();
            full_ = std::max(full_, 2 * found_.size());
        }
    }
    std::vector<TermLists::Found> sorted() {
        settle();
        std::sort(found_.begin(), found_.end(), [](const auto& a, const auto& b) {
            if (a.score != b.score) return a.score > b.score;
            if (a.place.segment != b.place.segment) return a.place.segment < b.place.segment;
            return a.place.position < b.place.position;
        });
        return std::move(found_);
    }

  private:
    void settle() {
        if (found_.size() < limit_) return;
        std::nth_element(found_.begin(), found_.begin() + (limit_ - 1), found_.end(),
                         [](const auto& a, const auto& b) { return a.score > b.score; });
        const double least = least_ = found_[limit_ - 1].score;
        found_.erase(std::remove_if(found_.begin(), found_.end(),
                                    [least](const auto& each) { return each.score < least; }),
                     found_.end());
    }
    size_t limit_, full_;
    double least_ = 0;
    std::vector<TermLists::Found> found_;
};

// One term on its way through a segment.
struct Cursor {
    const TermList* list;
    double weight;
    int64_t at;
    double most;   // that it adds in this window
};

class Traversal {
  public:
    Traversal(const LexicalPostings& postings, const Spreads& spreads, double mean,
              const uint8_t* selected, int64_t segment, Best& best)
        : lengths_(postings.lengths), spreads_(spreads), ratio_(kK1 * kB / mean),
          selected_(selected), segment_(segment), best_(best), scores_(kWindow),
          marks_(kWindow / 64) {}

    void run(std::vector<Cursor>& cursors) {
        std::vector<Cursor*> order;
        for (Cursor& cursor : cursors) order.push_back(&cursor);
        std::vector<double> together(cursors.size() + 1);
        const int64_t n = lengths_.n;
        for (int64_t low = 0; low < n; low += kWindow) {
            const int64_t high = std::min<int64_t>(low + kWindow, n);
            for (Cursor* cursor : order) enter(*cursor, low, high);
            std::sort(order.begin(), order.end(),
                      [](const Cursor* a, const Cursor* b) { return a->most < b->most; });
            size_t left_out = 0;   // of the terms in ascending order of what they add
            for (size_t i = 0; i < order.size(); ++i) {
                together[i + 1] = together[i] + order[i]->most;
                if (together[i + 1] < best_.least()) left_out = i + 1;
            }
            if (left_out == order.size() || together[order.size()] == 0) continue;
            for (size_t i = left_out; i < order.size(); ++i) accumulate(*order[i], low, high);
            collect(order, left_out, together, low);
        }
    }

  private:
    double gain(double weight, double times, uint32_t passage) const {
        const double gained =
            weight * ((times * (kK1 + 1)) / (times + spreads_[lengths_[passage]]));
        return (gained + kRounding) - kRounding;
    }

    double bound(const Cursor& cursor, int64_t block) const {
        const double times = cursor.list->block_frequency[block];
        const double spread = kK1 * (1 - kB) / times + ratio_ * cursor.list->block_ratio[block];
        return cursor.weight * (kK1 + 1) / (1 + spread) * kSlack + kUnit;
    }

    void enter(Cursor& cursor, int64_t low, int64_t high) const {
        const TermList& list = *cursor.list;
        cursor.at = seek(list.passages, list.block_last, cursor.at, static_cast<uint32_t>(low));
        cursor.most = 0;
        if (cursor.at >= list.passages.n || list.passages[cursor.at] >= high) return;
        const int64_t n_blocks = blocks_of(list.passages.n);
        for (int64_t block = cursor.at / kBlock; block < n_blocks; ++block) {
            if (block * kBlock > cursor.at && list.passages[block * kBlock] >= high) break;
            cursor.most = std::max(cursor.most, bound(cursor, block));
        }
    }

    void accumulate(Cursor& cursor, int64_t low, int64_t high) {
        const TermList& list = *cursor.list;
        const uint32_t first = static_cast<uint32_t>(low), size = static_cast<uint32_t>(high - low);
        int64_t at = cursor.at;
        for (; at < list.passages.n; ++at) {
            const uint32_t passage = list.passages[at], number = passage - first;
            if (number >= size) break;
            scores_[number] += gain(cursor.weight, list.frequencies[at], passage);
            marks_[number / 64] |= uint64_t{1} << (number % 64);
        }
        cursor.at = at;
    }

    // Score what was marked by the terms that were left out, where that can still matter.
    void collect(const std::vector<Cursor*>& order, size_t left_out,
                 const std::vector<double>& together, int64_t low) {
        for (size_t word = 0; word < marks_.size(); ++word) {
            uint64_t marked = marks_[word];
            marks_[word] = 0;
            for (; marked; marked &= marked - 1) {
                const size_t number = word * 64 + lowest(marked);
                double score = scores_[number];
                scores_[number] = 0;
                const uint32_t passage = static_cast<uint32_t>(low + number);
                size_t i = left_out;
                while (score + together[i] >= best_.least()) {
                    if (i == left_out && !selected_[passage]) break;
                    if (i == 0) {
                        best_.add(score, {segment_, passage});
                        break;
                    }
                    Cursor& cursor = *order[--i];
                    const TermList& list = *cursor.list;
                    cursor.at = seek(list.passages, list.block_last, cursor.at, passage);
                    if (cursor.at < list.passages.n && list.passages[cursor.at] == passage)
                        score += gain(cursor.weight, list.frequencies[cursor.at], passage);
                }
            }
        }
    }

    static size_t lowest(uint64_t bits) {
#if defined(_MSC_VER) && !defined(__clang__)
        size_t at = 0;
        while (!(bits & 1)) {
            bits >>= 1;
            ++at;
        }
        return at;
#else
        return static_cast<size_t>(__builtin_ctzll(bits));
#endif
    }

    const Numbers& lengths_;
    const Spreads& spreads_;
    double ratio_;
    const uint8_t* selected_;
    int64_t segment_;
    Best& best_;
    std::vector<double> scores_;
    std::vector<uint64_t> marks_;
};

}  // namespace

TermLists::TermLists(std::vector<LexicalPostings> segments, const std::vector<Phrase>& phrases)
    : segments_(std::move(segments)) {
    for (const Phrase& phrase : phrases) {
        std::vector<TermList> of_phrase;
        for (const LexicalPostings& postings : segments_)
            of_phrase.push_back(list_of(postings, phrase));
        lists_.push_back(std::move(of_phrase));
    }
}

std::vector<int64_t> TermLists::counts(const std::vector<const uint8_t*>& live) const {
    std::vector<int64_t> counts;
    for (const auto& of_phrase : lists_) {
        int64_t count = 0;
        for (size_t segment = 0; segment < of_phrase.size(); ++segment) {
            const Numbers& passages = of_phrase[segment].passages;
            const uint8_t* marks = live[segment];
            if (!marks) {
                count += passages.n;
                continue;
            }
            const int64_t size = segments_[segment].lengths.n;
            for (int64_t i = 0; i < passages.n; ++i) {
                check(passages[i] < size);
                count += marks[passages[i]];
            }
        }
        counts.push_back(count);
    }
    return counts;
}

std::vector<TermLists::Found> TermLists::best(const std::vector<int64_t>& numbers,
                                              const std::vector<double>& weights, double mean,
                                              const std::vector<const uint8_t*>& selected,
                                              int64_t limit) const {
    Best best(limit);
    const Spreads spreads(mean);
    for (size_t segment = 0; segment < segments_.size(); ++segment) {
        std::vector<Cursor> cursors;
        for (size_t i = 0; i < numbers.size(); ++i) {
            const TermList& list = lists_[static_cast<size_t>(numbers[i])][segment];
            if (list.passages.n) cursors.push_back({&list, weights[i], 0, 0});
        }
        if (cursors.empty()) continue;
        Traversal(segments_[segment], spreads, mean, selected[segment],
                  static_cast<int64_t>(segment), best)
            .run(cursors);
    }
    return best.sorted();
}

}  // namespace rag_tools
