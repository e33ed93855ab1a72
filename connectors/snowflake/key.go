package snowflake

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/des"
	"crypto/pbkdf2"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"hash"
)

// parseKey reads a private key as PEM text, PKCS#8 or PKCS#1, encrypted or not; problem says what is wrong with it, without a word of it.
func parseKey(text, passphrase string) (key *rsa.PrivateKey, problem string) {
	block, rest := pem.Decode([]byte(text))
	if block == nil || len(bytes.TrimSpace(rest)) > 0 {
		return nil, "want the key itself as PEM text, from -----BEGIN PRIVATE KEY----- to the end, not the name of a file"
	}
	der := block.Bytes
	switch block.Type {
	case "ENCRYPTED PRIVATE KEY":
		if passphrase == "" {
			return nil, "it is encrypted: give private_key_passphrase too"
		}
		if der, problem = decrypt(der, passphrase); problem != "" {
			return nil, problem
		}
	case "PRIVATE KEY":
	case "RSA PRIVATE KEY":
		if block.Headers["DEK-Info"] != "" {
			return nil, "this kind of encryption is not supported: make a PKCS#8 key of it, by openssl pkcs8 -topk8 -v2 aes256"
		}
		if key, err := x509.ParsePKCS1PrivateKey(der); err == nil {
			return checkKey(key)
		}
		return nil, "it is not a private key"
	default:
		return nil, "want a private key; this is something else"
	}
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	key, ok := parsed.(*rsa.PrivateKey)
	switch {
	case err != nil && block.Type == "ENCRYPTED PRIVATE KEY":
		return nil, "the passphrase does not open it"
	case err != nil:
		return nil, "it is not a private key"
	case !ok:
		return nil, "want an RSA key: Snowflake takes no other"
	}
	return checkKey(key)
}

func checkKey(key *rsa.PrivateKey) (*rsa.PrivateKey, string) {
	if key.N.BitLen() < 2048 {
		return nil, "want a key of 2,048 bits or more"
	}
	return key, ""
}

// Encrypted keys: https://www.rfc-editor.org/rfc/rfc5958#section-3, https://www.rfc-editor.org/rfc/rfc8018#appendix-A.4. What openssl pkcs8 -topk8 makes is
// PBES2 with PBKDF2 and AES or triple DES, each in CBC.
type (
	encryptedKey struct {
		Algorithm pkix.AlgorithmIdentifier
		Data      []byte
	}
	pbes2 struct {
		KDF, Cipher pkix.AlgorithmIdentifier
	}
	pbkdf2Params struct {
		Salt       []byte
		Iterations int
		Length     int                      `asn1:"optional"`
		PRF        pkix.AlgorithmIdentifier `asn1:"optional"`
	}
)

var (
	oidPBES2  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 13}
	oidPBKDF2 = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 12}

	hashes = map[string]func() hash.Hash{
		"": sha1.New, "1.2.840.113549.2.7": sha1.New, "1.2.840.113549.2.9": sha256.New, "1.2.840.113549.2.10": sha512.New384, "1.2.840.113549.2.11": sha512.New,
	}
	ciphers = map[string]struct {
		length int
		make   func([]byte) (cipher.Block, error)
	}{
		"2.16.840.1.101.3.4.1.2": {16, aes.NewCipher}, "2.16.840.1.101.3.4.1.22": {24, aes.NewCipher}, "2.16.840.1.101.3.4.1.42": {32, aes.NewCipher},
		"1.2.840.113549.3.7": {24, des.NewTripleDESCipher},
	}
)

// maxIterations bounds the time that a hostile key costs.
const maxIterations = 10_000_000

func decrypt(der []byte, passphrase string) (plain []byte, problem string) {
	const unknown = "its encryption is not supported: encrypt it by openssl pkcs8 -topk8 -v2 aes256"
	var key encryptedKey
	var scheme pbes2
	var kdf pbkdf2Params
	var iv []byte
	if _, err := asn1.Unmarshal(der, &key); err != nil {
		return nil, "it is not whole"
	}
	if !key.Algorithm.Algorithm.Equal(oidPBES2) {
		return nil, unknown
	}
	if _, err := asn1.Unmarshal(key.Algorithm.Parameters.FullBytes, &scheme); err != nil || !scheme.KDF.Algorithm.Equal(oidPBKDF2) {
		return nil, unknown
	}
	if _, err := asn1.Unmarshal(scheme.KDF.Parameters.FullBytes, &kdf); err != nil || kdf.Iterations < 1 || kdf.Iterations > maxIterations {
		return nil, unknown
	}
	if _, err := asn1.Unmarshal(scheme.Cipher.Parameters.FullBytes, &iv); err != nil {
		return nil, unknown
	}
	prf := ""
	if len(kdf.PRF.Algorithm) > 0 {
		prf = kdf.PRF.Algorithm.String()
	}
	h, c := hashes[prf], ciphers[scheme.Cipher.Algorithm.String()]
	if h == nil || c.make == nil {
		return nil, unknown
	}
	secret, err := pbkdf2.Key(h, passphrase, kdf.Salt, kdf.Iterations, c.length)
	if err != nil {
		return nil, unknown
	}
	block, err := c.make(secret)
	if err != nil || len(iv) != block.BlockSize() || len(key.Data) == 0 || len(key.Data)%block.BlockSize() != 0 {
		return nil, "it is not whole"
	}
	cipher.NewCBCDecrypter(block, iv).CryptBlocks(key.Data, key.Data)
	padding := int(key.Data[len(key.Data)-1])
	if padding == 0 || padding > block.BlockSize() {
		return nil, "the passphrase does not open it"
	}
	return key.Data[:len(key.Data)-padding], ""
}
