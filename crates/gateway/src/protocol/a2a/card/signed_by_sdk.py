"""A card as the official SDK signs and serves it, with a key of each algorithm: `python signed_by_sdk.py > signed_by_sdk.json`."""
import json
from a2a.types.a2a_pb2 import *
from a2a.utils.signing import create_agent_card_signer, create_signature_verifier
from a2a.server.request_handlers.response_helpers import agent_card_to_dict
from jwt import PyJWK
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
card=AgentCard(name="échö",description="A test agent.",version="1.0.0",
 capabilities=AgentCapabilities(streaming=True,push_notifications=False,extended_agent_card=True,extensions=[AgentExtension(uri="urn:x",required=False,params={"a":[1,2.5,None,""],"n":{}})]),
 default_input_modes=["text/plain"],default_output_modes=["text/plain"],skills=[AgentSkill(id="s",name="s",description="s",tags=["t"])],
 supported_interfaces=[AgentInterface(url="http://b:1/",protocol_binding=b,protocol_version=v) for b in ("JSONRPC","HTTP+JSON") for v in ("1.0","0.3")])
card.security_schemes["o"].http_auth_security_scheme.scheme="bearer"
r=card.security_requirements.add(); r.schemes["o"].SetInParent()
sr=card.skills[0].security_requirements.add(); sr.schemes["o"].SetInParent()
keys=[]
for alg,key,to in (("ES256",ec.generate_private_key(ec.SECP256R1()),ECAlgorithm.to_jwk),("EdDSA",ed25519.Ed25519PrivateKey.generate(),OKPAlgorithm.to_jwk),("RS256",None,RSAAlgorithm.to_jwk),("PS256",None,RSAAlgorithm.to_jwk)):
    key=key or rsa.generate_private_key(65537,2048)
    jwk=json.loads(to(key)); pub=json.loads(to(key.public_key()))
    for k in ("key_ops",): pub.pop(k,None)
    pub["kid"]=alg.lower(); keys.append(pub)
    card=create_agent_card_signer(key,{"kid":pub["kid"],"alg":alg,"jku":None,"typ":"JOSE"})(card)
print(json.dumps({"card":agent_card_to_dict(card),"keys":keys}, indent=1, ensure_ascii=False))
