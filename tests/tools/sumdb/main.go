// Checks a log with the code by which Go checks its checksum database (golang.org/x/mod/sumdb):
//
//	sumdb ORIGIN_DIRECTORY VKEYS [-leaf FILE]… [-kept CHECKPOINT]…
//
// VKEYS holds one verifier key a line. Checked are the checkpoint's signature, every tile and entry under its root, that each FILE is an
// entry (by an inclusion proof), and that each CHECKPOINT is signed and a beginning of this log (by a consistency proof). Exits 1 when
// anything is wrong.
package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// C2SP tlog-tiles: tiles of 2^8 hashes.
const height, width = 8, 256

func main() {
	if err := check(os.Args[1:]); err != nil {
		fmt.Println("refused:", err)
		os.Exit(1)
	}
}

func check(arguments []string) error {
	if len(arguments) < 2 || len(arguments)%2 != 0 {
		return errors.New("usage: sumdb ORIGIN_DIRECTORY VKEYS [-leaf FILE]… [-kept CHECKPOINT]…")
	}
	log, keys := tiles(arguments[0]), arguments[1]
	known, err := verifiers(keys)
	if err != nil {
		return err
	}
	origin, tree, err := checkpoint(filepath.Join(arguments[0], "checkpoint"), known)
	if err != nil {
		return err
	}
	hashes := tlog.TileHashReader(tree, log)
	leaves, err := entries(log, tree, hashes)
	if err != nil {
		return err
	}
	fmt.Printf("ok %s: %d entries, root %s\n", origin, tree.N, tree.Hash)
	for rest := arguments[2:]; len(rest) > 0; rest = rest[2:] {
		switch rest[0] {
		case "-leaf":
			err = leaf(rest[1], leaves, tree, hashes)
		case "-kept":
			err = kept(rest[1], origin, known, tree, hashes)
		default:
			err = fmt.Errorf("unknown option %s", rest[0])
		}
		if err != nil {
			return fmt.Errorf("%s: %w", rest[1], err)
		}
	}
	return nil
}

// verifiers reads signed-note verifier keys, one a line.
func verifiers(path string) (note.Verifiers, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var list []note.Verifier
	for _, line := range strings.Fields(string(text)) {
		verifier, err := note.NewVerifier(line)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", line, err)
		}
		list = append(list, verifier)
	}
	return note.VerifierList(list...), nil
}

// checkpoint reads C2SP tlog-checkpoint, signed by a known key whose name is its origin.
func checkpoint(path string, known note.Verifiers) (string, tlog.Tree, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", tlog.Tree{}, err
	}
	signed, err := note.Open(text, known)
	if err != nil {
		return "", tlog.Tree{}, err
	}
	// Go's own checkpoints begin with another line than C2SP's; what follows is the same.
	origin, rest, _ := strings.Cut(signed.Text, "\n")
	if signed.Sigs[0].Name != origin {
		return "", tlog.Tree{}, fmt.Errorf("%s signed for %s", signed.Sigs[0].Name, origin)
	}
	tree, err := tlog.ParseTree([]byte("go.sum database tree\n" + rest))
	return origin, tree, err
}

// entries reads every entry bundle, and compares each leaf with the tiles, which are compared with the root.
func entries(log tiles, tree tlog.Tree, hashes tlog.HashReader) (map[tlog.Hash]int64, error) {
	leaves := make(map[tlog.Hash]int64, tree.N)
	for first := int64(0); first < tree.N; first += width {
		count := int(min(width, tree.N-first))
		bundle, err := log.read(tlog.Tile{H: height, L: -1, N: first / width, W: count})
		if err != nil {
			return nil, err
		}
		var found []tlog.Hash
		var indexes []int64
		for len(found) < count {
			if len(bundle) < 2 || len(bundle)-2 < int(binary.BigEndian.Uint16(bundle)) {
				return nil, fmt.Errorf("entry %d is cut short", first+int64(len(found)))
			}
			end := 2 + int(binary.BigEndian.Uint16(bundle))
			indexes = append(indexes, tlog.StoredHashIndex(0, first+int64(len(found))))
			found = append(found, tlog.RecordHash(bundle[2:end]))
			bundle = bundle[end:]
		}
		wanted, err := hashes.ReadHashes(indexes)
		if err != nil {
			return nil, err
		}
		for n, hash := range found {
			if hash != wanted[n] {
				return nil, fmt.Errorf("entry %d is not the one under the root", first+int64(n))
			}
			leaves[hash] = first + int64(n)
		}
	}
	return leaves, nil
}

func leaf(path string, leaves map[tlog.Hash]int64, tree tlog.Tree, hashes tlog.HashReader) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	hash := tlog.RecordHash(data)
	index, found := leaves[hash]
	if !found {
		return errors.New("it is no entry of this log")
	}
	proof, err := tlog.ProveRecord(tree.N, index, hashes)
	if err != nil {
		return err
	}
	if err := tlog.CheckRecord(proof, tree.N, tree.Hash, index, hash); err != nil {
		return err
	}
	fmt.Printf("ok %s: entry %d, shown by %d hashes\n", path, index, len(proof))
	return nil
}

func kept(path, origin string, known note.Verifiers, tree tlog.Tree, hashes tlog.HashReader) error {
	name, old, err := checkpoint(path, known)
	if err != nil {
		return err
	}
	if name != origin {
		return fmt.Errorf("it is of the log %s", name)
	}
	if old.N > tree.N {
		return fmt.Errorf("it has %d entries, the log now %d: the newest were taken away", old.N, tree.N)
	}
	var proof tlog.TreeProof
	if old.N > 0 {
		if proof, err = tlog.ProveTree(tree.N, old.N, hashes); err != nil {
			return err
		}
		if err := tlog.CheckTree(proof, tree.N, tree.Hash, old.N, old.Hash); err != nil {
			return err
		}
	}
	fmt.Printf("ok %s: the log's first %d entries are still there, shown by %d hashes\n", path, old.N, len(proof))
	return nil
}

// tiles is the origin's directory.
type tiles string

func (tiles) Height() int                     { return height }
func (tiles) SaveTiles([]tlog.Tile, [][]byte) {}

func (directory tiles) ReadTiles(wanted []tlog.Tile) ([][]byte, error) {
	data := make([][]byte, len(wanted))
	for n, tile := range wanted {
		bytes, err := directory.read(tile)
		if err != nil {
			return nil, err
		}
		if tile.L >= 0 && len(bytes) > tile.W*tlog.HashSize {
			bytes = bytes[:tile.W*tlog.HashSize]
		}
		data[n] = bytes
	}
	return data, nil
}

// read gives a tile's bytes; where a partial one was removed, those of the full one.
func (directory tiles) read(tile tlog.Tile) ([]byte, error) {
	data, err := os.ReadFile(directory.path(tile))
	if errors.Is(err, fs.ErrNotExist) && tile.W < width {
		tile.W = width
		if full, second := os.ReadFile(directory.path(tile)); second == nil {
			return full, nil
		}
	}
	return data, err
}

// path spells a tile as C2SP does: Go's tile/8/data/000 is tile/entries/000, its tile/8/0/000 is tile/0/000.
func (directory tiles) path(tile tlog.Tile) string {
	name := strings.TrimPrefix(tile.Path(), "tile/8/")
	if rest, data := strings.CutPrefix(name, "data/"); data {
		name = "entries/" + rest
	}
	return filepath.Join(string(directory), "tile", filepath.FromSlash(name))
}
