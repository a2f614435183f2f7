"""What rtpengine's control protocol has in each version: names only, read from its source.

10.5.3.5 is what Debian 12 ships; the development version is that of 17 August 2026. A name stands in
the form with hyphens; the relay takes spaces for them.
"""

from __future__ import annotations


def _names(text: str) -> frozenset[str]:
    return frozenset(name.strip() for name in text.replace("\n", " ").split(","))


VERBS_10_5 = {
    "Ping": "ping",
    "Offer": "offer",
    "Answer": "answer",
    "Delete": "delete",
    "Query": "query",
    "List": "list",
    "StartRec": "start recording",
    "StopRec": "stop recording",
    "StartFwd": "start forwarding",
    "StopFwd": "stop forwarding",
    "BlkDTMF": "block DTMF",
    "UnblkDTMF": "unblock DTMF",
    "BlkMedia": "block media",
    "UnblkMedia": "unblock media",
    "PlayMedia": "play media",
    "StopMedia": "stop media",
    "PlayDTMF": "play DTMF",
    "Stats": "statistics",
    "SlnMedia": "silence media",
    "UnslnMedia": "unsilence media",
    "Pub": "publish",
    "SubReq": "subscribe request",
    "SubAns": "subscribe answer",
    "Unsub": "unsubscribe",
}  # by the short names that the program counts them under
VERBS_11_AND_12 = _names("pause recording, connect")
VERBS_SINCE = _names("cli, CLI, transform, create, create answer, mesh, inject start, inject stop")

KEYS_OF_DEVELOPMENT = _names("""
address, address-family, all, alias-key, audio-player, player, blob, blob64, bundle, BUNDLE,
call-id, call-ID, calls, code, digit, codec, codecs, command, db-id, delete-delay, delete_delay,
direction, drop-traffic, DTLS, dtls, DTLS-reverse, DTLS-fingerprint, DTMF-delay, dtmf-log-dest,
DTMF-log-dest, dtmf-log-destination, DTMF-log-destination, duration, DTMF-security,
DTMF-security-trigger, DTMF-security-trigger-end, delay-buffer, endpoint-learning, extmap, file,
frequency, frequencies, from-interface, from-label, label, from-tag, from-tags, flags,
generate-RTCP, ICE, ice, ICE-lite, inbound-peer, interface, peer, instance, media-address, media,
medias, media-echo, metadata, moh, MoH, MOH, OSRTP, outbound-peer, output-destination, output-dest,
output-file, recording-destination, recording-dest, recording-file, recording-media-slot-offer,
recording-media-slot-answer, recording-media-slots, passthrough, passthru, pause, ptime,
ptime-reverse, reverse-ptime, received-from, record-call, recording-path, recording-dir,
recording-directory, recording-folder, output-path, output-dir, output-directory, output-folder,
recording-pattern, output-pattern, repeat-times, repeat-duration, replace, rtcp-mux, rtpp-flags,
rtpp_flags, SDES, SDP, sdp, sdp-attr, SDP-attr, sdp-media-remove, sdp_media_remove, set-label,
sip-code, SIP_code, sip-response-code, SIP_response_code, sip-message-type, SIP_message_type,
source-tag, source-call-id, start-pos, supports, T38, T.38, t38, t.38, T38-version, T.38-version,
tags, template, to-interface, to-label, to-call-id, to-tag, to_tag, TOS, tos, transport-protocol,
trigger, trigger-end, end-trigger, trigger-end-time, end-trigger-time, trigger-end-digits,
end-trigger-digits, via-branch, volume, vsc-pause-rec, VSC-pause-rec, vsc-pause-recording,
vsc-pause-resume-rec, vsc-pause-resume-recording, vsc-start-pause-resume-rec,
vsc-start-pause-resume-recording, vsc-start-rec, vsc-start-recording, vsc-start-stop-rec,
vsc-start-stop-recording, vsc-stop-rec, vsc-stop-recording, xmlrpc-callback, XMLRPC-callback, limit
""")
FLAGS_OF_DEVELOPMENT = _names("""
all, allow-asymmetric-codecs, allow-asymmetric-codec, allow-no-codec-media, allow-no-codec-medias,
allow-empty-codec-media, allow-empty-codec-medias, allow-transcoding, force-transcoding,
always-transcode, asymmetric, asymmetric-codecs, audio-player, player, bidirectional, block-DTMF,
block-egress, block-short, block-shorts, block-short-packets, debug, debugging, detect-DTMF,
directional, discard-recording, early-media, egress, exclude-recording, fatal, fast, fragment,
full-rtcp-attribute, generate-mid, generate-RTCP, ICE-reject, reject-ice, inactive, inject-DTMF,
loop-protect, media-handover, mirror-RTCP, RTCP-mirror, mix, mixed, NAT-wait, new-branch,
no-codec-renegotiation, reuse-codecs, no-passthrough, no-player, no-audio-player, no-port-latching,
no-redis-update, no-rtcp-attribute, no-tls-id, no-jitter-buffer, original-sendrecv, pad-crypto,
passthrough, pause, pierce-NAT, port-latching, provisional, record-call, recording-vsc,
recording-VSC, recording-announcement, recrypt, reorder-codecs, reset, single-codec,
SIP-source-address, SIPREC, siprec, skip-recording-db, skip-recording-database, static-codec,
static-codecs, strict-source, strip-extmap, symmetric-codecs, to-tag, to_tag, trickle-ICE,
trust-address, unidirectional, unsubscribe, webrtc, WebRTC, endpoint-learning-x, from-tags-x,
OSRTP-x, replace-x, rtcp-mux-x, BUNDLE-x, codec-except-x, codec-offer-x, codec-strip-x,
codec-ignore-x, SDES-x, SDES-offerer_pref:x, SDES-no-x, SDES-only-x, SDES-order:x, sdp-attr-add-x,
sdp-attr-remove-x, sdp-attr-substitute-x, transcode-x, codec-transcode-x, codec-mask-x, T38-x,
T.38-x, codec-accept-x, codec-consume-x, codec-set-x
""")
# What Kamailio and OpenSIPS put into `flags` or the dictionary and the relay does not act on.
OF_PROXIES = _names("symmetric, force, auto-bridge, directional, to-tag")

# Words of the program of 10.5.3.5 that stand among its names and are values, or names within one.
VALUES_10_5 = _names("""
fec, tone, stop, strip, require, drop, start, static, fw, fwd, zero, no-V29, no-V.29, no-V34,
no-V.34, decode, demux, no-V17, no-V.17, no-V27ter, no-V.27ter, no-IAF, pad, no-iaf, forward,
no-ECM, origin, consume, zero-address, session-connection, both, force_relay, force-relay, no-ecm,
unauthenticated_srtp, bk, bkw, session-name, yes, except, enable, username, mask, silence, random,
optional, force relay, remove, sdp-version, no-v29, no-v.29, unencrypted_srtp, unencrypted_srtcp,
no-v34, no-v.34, backward, backwards, SDP-version, no-v17, no-v.17, no-v27ter, no-v.27ter,
sinkhole, blackhole, disable, disabled
""")
